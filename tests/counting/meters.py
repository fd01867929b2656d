"""A process with the meters of a run, and a sender that brings each batch until it is confirmed.

python -m tests.counting.meters '{"url": "redis+cluster://...", "result": FILE}'

Each line on its standard input kills a meter of each kind and starts another. When the input ends,
the sender makes no more batches, and the process writes what was sent and what nodes confirmed.
"""

import asyncio
import itertools
import json
import random
import sys
from pathlib import Path

import uvloop

from authz.core.usage.commit import Commit
from authz.core.usage.counts import Level
from authz.core.usage.ports import CommitReply, Counted, Known
from authz.flows.usage.batches import Deferred
from authz.flows.usage.partitioned_meter import PartitionedMeter
from authz.storage.endpoint import Endpoint
from authz.storage.feed import CONNECTION_NAME
from authz.storage.usage import usage_link
from authz.storage.usage.usage_link import UsageLink
from tests.counting import plan
from tests.counting.sidecar import port_of
from tests.metering.worker import WithoutDigest
from tests.support.metered_partitions import OWNERS, kid_of, partitioned
from tests.support.real import RealClock
from tests.support.usage import line
from tests.support.usage_faults import ConfirmsEarly

KINDS: dict[str, tuple[type[UsageLink], type[PartitionedMeter]]] = {
    "right": (UsageLink, PartitionedMeter),
    "without digest": (WithoutDigest, PartitionedMeter),
    "confirms early": (UsageLink, ConfirmsEarly),
}
METERS = 2
KEPT = dict.fromkeys(Level, 7 * 86_400)
PAUSE = 0.03  # seconds between two batches
ENTRIES = 4  # of a batch, at most
PATIENCE = 2.0  # seconds after which the sender comes again
AGAIN = 0.1  # share of the batches that come again although they were confirmed
UNDER_WAY = 500  # batches, at most
SETTLES = 90.0  # seconds in which all are confirmed at the end


class Store:
    """A UsageStore over the link to one partition. Notes each commit that a node has confirmed."""

    def __init__(self, link: UsageLink, partition: int, commits: list[tuple[int, ...]]) -> None:
        self.link = link
        self._partition = partition
        self._commits = commits

    def now_ms(self) -> int | None:
        """Implement UsageStore.now_ms."""
        return self.link.now_ms()

    async def commit(self, commit: Commit, digests: list[bytes], arrived_ms: int) -> CommitReply:
        """Implement UsageStore.commit."""
        port = port_of(self.link._primary.link)
        reply = await self.link.commit(commit, digests, arrived_ms)
        if isinstance(reply, Counted | Known) and commit.entries:
            at = ((self.link.now_ms() or 0) + 1) * 1000
            self._commits.append((self._partition, at, port, commit.entries))
        return reply


class Fleet:
    """The meters of one kind and their sender. sent: entries by partition."""

    def __init__(self, kind: str, number: int, endpoint: Endpoint) -> None:
        self._link_type, self._meter_type = KINDS[kind]
        self._endpoint = endpoint
        self._process = f"{number + 1:014x}"
        self.kids = [kid_of(partition) for partition in range(plan.COUNT)]
        self.sent = [0] * plan.COUNT
        self.commits: list[tuple[int, ...]] = []
        self.meters: list[PartitionedMeter] = []
        self._runs: list[asyncio.Task[None]] = []
        self._under_way: set[asyncio.Task[None]] = set()
        for at in range(METERS):
            meter, run = self._started(is_cut_off=at == 0)
            self.meters.append(meter)
            self._runs.append(run)

    def _started(self, *, is_cut_off: bool) -> tuple[PartitionedMeter, asyncio.Task[None]]:
        """Start a meter. is_cut_off: its links share the fate of those that isolate leaves open."""
        usage_link.CONNECTION_NAME = CONNECTION_NAME if is_cut_off else "authz-meter"
        clock = RealClock()
        links = [self._link_type(where, clock, KEPT) for where in self._endpoint.partitions()]
        stores = [Store(link, at, self.commits) for at, link in enumerate(links)]
        meter = partitioned(stores, clock, self._meter_type, period=0.1)
        work = asyncio.gather(meter.run(), *(link.run() for link in links))
        return meter, asyncio.ensure_future(work)

    def kill(self, at: int) -> None:
        """Forget all that a meter has, and start another."""
        self._runs[at].cancel()
        self.meters[at], self._runs[at] = self._started(is_cut_off=at == 0)

    async def send(self, is_over: asyncio.Event) -> None:
        """Make batches until it is over, then wait until all are confirmed, at most SETTLES."""
        for number in itertools.count():
            if is_over.is_set():
                break
            await asyncio.sleep(PAUSE)
            if len(self._under_way) < UNDER_WAY:
                lines = [self._line() for _ in range(random.randint(1, ENTRIES))]
                task = asyncio.create_task(self._deliver(b"%d" % number + lines[0], lines))
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=SETTLES)

    def _line(self) -> bytes:
        at = random.randrange(plan.COUNT)
        self.sent[at] += 1
        return line(
            charge_id=f"{self._process}{at:02x}{self.sent[at]:012x}",
            kid=self.kids[at],
            owners=OWNERS[at],
            started=RealClock().wall_ms(),
        )

    async def _deliver(self, raw: bytes, lines: list[bytes]) -> None:
        while True:
            meter = random.choice(self.meters)
            taken = meter.take(raw, lines)
            if isinstance(taken, Deferred):
                await asyncio.sleep(PATIENCE / 4)
                continue
            await asyncio.wait([taken], timeout=PATIENCE)
            if taken.done() and taken.result():
                break
        if random.random() < AGAIN:
            random.choice(self.meters).take(raw, lines)

    def result(self) -> dict:
        """Return what was sent, and what nodes confirmed."""
        return {
            "process": self._process,
            "kids": self.kids,
            "sent": self.sent,
            "commits": self.commits,
            "unconfirmed": len(self._under_way),
        }


async def main(given: dict) -> None:
    """Run until stdin ends and all is confirmed."""
    endpoint, is_over = Endpoint.parse(given["url"], partitions=plan.COUNT), asyncio.Event()
    fleets = {kind: Fleet(kind, number, endpoint) for number, kind in enumerate(KINDS)}
    sending = asyncio.gather(*(fleet.send(is_over) for fleet in fleets.values()))
    print("ready", flush=True)
    for number in itertools.count():
        if not await asyncio.to_thread(sys.stdin.readline):
            break
        for fleet in fleets.values():
            fleet.kill(number % METERS)
    is_over.set()
    await sending
    await asyncio.sleep(1)  # for batches that came again
    Path(given["result"]).write_text(
        json.dumps({kind: one.result() for kind, one in fleets.items()})
    )


if __name__ == "__main__":
    uvloop.run(main(json.loads(sys.argv[1])))
