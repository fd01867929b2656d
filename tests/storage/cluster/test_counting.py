"""Limits and usage while the slot changes its owner: never over, and counted once.

Two sidecars ask for as much as they can, and a meter commits one batch after the other, each until
the store has confirmed it. The owner changes in good order: a failover, and moves in one step and
key by key. A killed owner may lose the last moment, which docs/limits.md and docs/usage.md say.
"""

import asyncio
import itertools
import time

from authz.core.errors import Unavailable
from authz.core.limits.charge import SpendReply, SpendRequest, charge_for
from authz.core.usage.counts import Level
from authz.core.usage.ports import Counted, Known
from authz.core.usage.tally import Clocks
from authz.process.clock import SystemClock
from authz.storage.endpoint import Endpoint
from authz.storage.limits.spend_link import SpendLink
from authz.storage.schema import Names
from authz.storage.usage.stored_usage import StoredUsage
from authz.storage.usage.usage_link import UsageLink
from tests.spending.plans import make_terms
from tests.support.cluster import Cluster, Node
from tests.support.real import eventually
from tests.support.storage.sidecar import administration
from tests.support.usage import KID, committed, line

COUNT, AT = 8, 3
LIMIT = 40
WINDOW_US = 1_000_000
ENOUGH = 60  # grants after each change of the owner: more than one window has
BATCHES = 20
PAUSE = 0.004


class Spending:
    """A sidecar that asks for one request after the other. granted: the store's times, in µs."""

    def __init__(self, endpoint: Endpoint, name: str) -> None:
        self.link = SpendLink(endpoint, SystemClock(), instance=name, deadline=5)
        self.granted: list[int] = []
        self.refused = 0

    async def work(self) -> None:
        """Ask until cancelled."""
        while True:
            charge = charge_for(make_terms(f"{LIMIT}/s"), 1, int(time.time() * 1000))
            self.link.spend(charge, SpendRequest(1), self._take)
            await asyncio.sleep(PAUSE)

    def _take(self, reply: SpendReply | Unavailable) -> None:
        if isinstance(reply, Unavailable):
            return
        self.granted += [reply.now_us] * reply.granted
        self.refused += not reply.granted


class Metering:
    """A meter that commits one request after the other. confirmed: how many the store has."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.link = UsageLink(endpoint, SystemClock(), dict.fromkeys(Level, 86_400))
        self.confirmed = self.repeated = 0
        self.is_over = False

    async def work(self) -> None:
        """Commit until `is_over`. A batch is repeated until it is confirmed."""
        for number in itertools.count():
            if self.is_over:
                return
            await self._commit(number.to_bytes(16))
            self.confirmed += 1

    async def _commit(self, digest: bytes) -> None:
        while True:
            now = SystemClock().wall_ms()
            commit = committed(line(started=now), clocks=Clocks.near(now, 3_600_000, 60_000))
            try:
                reply = await self.link.commit(commit, [digest], now)
            except Unavailable:
                await asyncio.sleep(PAUSE)
                continue
            assert isinstance(reply, Counted | Known), reply
            self.repeated += isinstance(reply, Known)
            return


async def move_at_once(cluster: Cluster, target: Node) -> None:
    """Move the slot in one step."""
    move = ("SLOTSRANGE", cluster.slot, cluster.slot, "NODE", target.node_id)
    source = await cluster.owned_by_another()
    assert source.ask("CLUSTER", "MIGRATESLOTS", *move) == "OK"
    await eventually(lambda: target.owns_slot)


async def test_counts_follow_the_slot():
    """No window has more than the limit, and each batch that was confirmed is counted once."""
    names = Names(is_clustered=True, partition=AT, partitions=COUNT)
    async with Cluster(names=names) as cluster:
        endpoint = Endpoint.parse(cluster.url, partitions=COUNT).partitions()[AT]
        async with administration(endpoint) as admin, endpoint.client() as client:
            assert await admin.store.load_functions() == ""
            sidecars = [Spending(endpoint, name) for name in ("one", "two")]
            meter = Metering(endpoint)
            links = [*(one.link for one in sidecars), meter.link]
            works = [asyncio.create_task(one.run()) for one in links]
            works += [asyncio.create_task(one.work()) for one in sidecars]
            metering = asyncio.create_task(meter.work())

            async def counts_on() -> None:
                granted, confirmed = grants(sidecars), meter.confirmed
                await eventually(lambda: grants(sidecars) >= granted + ENOUGH)
                await eventually(lambda: meter.confirmed >= confirmed + BATCHES)

            await counts_on()
            await cluster.fail_over()
            await counts_on()
            first, second = cluster.others
            await move_at_once(cluster, first)
            await counts_on()
            await cluster.move_slot(first, second)
            await counts_on()
            meter.is_over = True
            await metering
            for work in works:
                work.cancel()
            await asyncio.gather(*works, return_exceptions=True)
            days = range(*(SystemClock().wall_ms() // 86_400_000 + n for n in (-1, 1)))
            counted = await StoredUsage(client).counts(KID, Level.DAY, days)
    times = sorted(at for one in sidecars for at in one.granted)
    assert all(one.granted and one.refused for one in sidecars)
    assert min(b - a for a, b in zip(times, times[LIMIT:], strict=False)) >= WINDOW_US
    assert sum(one.requests for one in counted.values()) == meter.confirmed


def grants(sidecars: list[Spending]) -> int:
    """Return how many requests were granted so far."""
    return sum(len(one.granted) for one in sidecars)
