"""A sidecar process that takes from the limits of all partitions, and writes down what passed.

python -m tests.counting.sidecar '{"kind": "right", "url": "redis+cluster://...", ...}'

It writes admissions as tests/spending/history.py reads them, and the counts that nodes told it.
"""

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from struct import Struct

import uvloop

from authz.core.errors import Unavailable
from authz.core.limits.charge import Charge, SpendReply, SpendRequest
from authz.core.limits.key_limits import KeyLimits, LimitResult
from authz.core.records import KeyRecord
from authz.flows.limits.limiter import Limiter
from authz.storage.endpoint import Endpoint
from authz.storage.feed import CONNECTION_NAME
from authz.storage.limits import spend_link
from authz.storage.limits.spend_link import SpendLink
from authz.storage.link import Link
from tests.counting import plan
from tests.counting.judge import Count
from tests.spending.history import ROW
from tests.support.fakes import RecordingProbe
from tests.support.real import RealClock

DEADLINE = 0.5  # seconds for a reply: the machine is busy with many processes
TICK = 0.005
GRANT = Struct("<BQHH")

Deliver = Callable[[SpendReply | Unavailable], None]
Owners = tuple[tuple[str, str], ...]


class Store:
    """A SpendStore over the link to one partition. counts: a file for each grant."""

    def __init__(self, link: SpendLink, counts: int, numbers: dict[Owners, int]) -> None:
        self.link = link
        self._counts = counts
        self._numbers = numbers

    @property
    def is_open(self) -> bool:
        """Implement SpendStore.is_open."""
        return self.link.is_open

    @property
    def port(self) -> int:
        """The port of the node that answers; 0 without a link."""
        return port_of(self.link._primary.link)

    def spend(self, charge: Charge, ask: SpendRequest, deliver: Deliver) -> None:
        """Implement SpendStore.spend."""
        self.link.spend(charge, ask, partial(self._on_reply, charge, deliver))

    def _on_reply(self, charge: Charge, deliver: Deliver, reply: SpendReply | Unavailable) -> None:
        if isinstance(reply, SpendReply) and reply.granted > 0:
            key = self._numbers[_owners(charge.key_limits)]
            os.write(self._counts, GRANT.pack(key, reply.now_us, self.port, reply.granted))
        deliver(reply)


class Alone(Store):
    """A mutant: without a reply of the owner it lets requests pass that nobody has counted."""

    is_open = True

    def spend(self, charge: Charge, ask: SpendRequest, deliver: Deliver) -> None:
        """Ask the store, and grant all that is wanted if it does not answer."""

        def on_reply(reply: SpendReply | Unavailable) -> None:
            if isinstance(reply, Unavailable):
                none = (0,) * len(charge.counters)
                reply = SpendReply(ask.wanted, time.time_ns() // 1000, none, none)
            deliver(reply)

        super().spend(charge, ask, on_reply)


class Anew(Store):
    """A mutant: it forgets at each change of the owner what was counted before."""

    def __init__(self, link: SpendLink, counts: int, numbers: dict[Owners, int]) -> None:
        super().__init__(link, counts, numbers)
        self._owners: list[int] = []

    def spend(self, charge: Charge, ask: SpendRequest, deliver: Deliver) -> None:
        """Count under names that belong to the owner of the moment."""
        if self.port and self._owners[-1:] != [self.port]:
            self._owners.append(self.port)
        reign = len(self._owners)
        groups = tuple(
            (replace(group, id=f"{group.id}-{reign}"), counters)
            for group, counters in charge.groups
        )
        super().spend(replace(charge, groups=groups), ask, deliver)


STORES = {"right": Store, "alone": Alone, "anew": Anew}


class Sidecar:
    """The limiters of all partitions, and the load on them. times: as much load."""

    def __init__(self, given: dict) -> None:
        self._kind, self._times = given["kind"], given["times"]
        self._dice = random.Random(given["seed"])
        self._rows = os.open(given["admissions"], os.O_WRONLY | os.O_CREAT)
        self._counts = os.open(given["counts"], os.O_WRONLY | os.O_CREAT)
        if given["is_cut_off"]:  # its links share the fate of those that isolate leaves open
            spend_link.CONNECTION_NAME = CONNECTION_NAME
        endpoint = Endpoint.parse(given["url"], partitions=plan.COUNT)
        self.links, self._limiters = [], []
        self._keys: list[tuple[int, Limiter, KeyRecord, float]] = []
        for partition, where in enumerate(endpoint.partitions()):
            self._add(partition, where)

    def _add(self, partition: int, where: Endpoint) -> None:
        clock = RealClock()
        link = SpendLink(where, clock, instance=f"sidecar-{self._kind}", deadline=DEADLINE)
        records = plan.records(self._kind, partition)
        policy = plan.policy()
        numbers = {
            _owners(policy.of(record, 0)): plan.number_of(partition, at)
            for at, record in enumerate(records)
        }
        store = STORES[self._kind](link, self._counts, numbers)
        limiter = Limiter(store, policy, clock, RecordingProbe(), max_keys=10)
        self.links.append(link)
        for at, (record, load) in enumerate(zip(records, plan.loads(partition), strict=True)):
            self._keys.append((plan.number_of(partition, at), limiter, record, load * self._times))

    async def run(self) -> None:
        """Ask until cancelled, without waiting for answers."""
        async with asyncio.TaskGroup() as group:
            for link in self.links:
                group.create_task(link.run())
            group.create_task(self._work())

    async def _work(self) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(TICK)
            passed, last = min(time.monotonic() - last, 1.0), time.monotonic()
            for number, limiter, record, load in self._keys:
                if self._dice.random() < load * passed:
                    self._ask(number, limiter, record)

    def _ask(self, number: int, limiter: Limiter, record: KeyRecord) -> None:
        before = _now()
        try:
            result = limiter.spend(record, 1)
        except Unavailable:
            return
        if isinstance(result, LimitResult):
            self._admit(number, before, result)
        else:
            result.add_done_callback(partial(self._on_decided, number, before))

    def _on_decided(self, number: int, before: int, task: asyncio.Future[LimitResult]) -> None:
        if task.exception() is None:
            self._admit(number, before, task.result())

    def _admit(self, number: int, before: int, result: LimitResult) -> None:
        if result.allowed:
            os.write(self._rows, ROW.pack(number, before, _now()))


def read_counts(path: Path) -> list[Count]:
    """Return the counts that a sidecar wrote."""
    return [Count(*row) for row in GRANT.iter_unpack(path.read_bytes())]


def port_of(link: Link | None) -> int:
    """Return the port of the node that a link leads to; 0 without a link."""
    return link._transport.get_extra_info("peername")[1] if link and link.is_open else 0


def _owners(key_limits: KeyLimits) -> Owners:
    """Return what tells a key of a partition from the others: whose limits it takes from."""
    return tuple((group.owner, group.id) for group in key_limits.groups)


def _now() -> int:
    """Return microseconds since the epoch. The stores have the same clock."""
    return time.time_ns() // 1000


async def main(given: dict) -> None:
    """Run until stdin ends."""
    sidecar = Sidecar(given)
    running = asyncio.create_task(sidecar.run())
    print("ready", flush=True)
    over = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await asyncio.wait([running, over], return_when=asyncio.FIRST_COMPLETED)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


if __name__ == "__main__":
    uvloop.run(main(json.loads(sys.argv[1])))
