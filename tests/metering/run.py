"""One run: requests and faults for some time, then the comparison of counts with answers."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.metering.faults import Faults
from tests.metering.world import World

CLIENTS = 12
SETTLES = 90.0  # seconds after which everything must be counted
MORE = 1.5  # seconds for which nothing more may be counted
BEFORE, AFTER = 4.0, 1.0  # seconds of requests around the SIGKILL of Envoy


@dataclass
class Lost:
    """The end of an Envoy by SIGKILL.

    held: records that it had at most. cut: requests without an answer. lost: answered requests that
    were not counted. told: requests that are missing, by the store. too_many: counted and not
    answered.
    """

    held: int
    cut: int
    lost: int
    told: int
    too_many: int

    @property
    def passed(self) -> bool:
        """Whether no more was lost than Envoy held, and the store says how much it is.

        The store may say more by the requests that were cut, and only one of them may be counted.
        """
        is_told = self.lost <= self.told <= self.lost + self.cut
        return self.told <= self.held + self.cut and is_told and self.too_many <= self.cut


@dataclass
class Report:
    """The result of a run. differences: counted minus answered, by kid and outcome.

    made: answered requests by shape. seconds: of requests. reconciled: the exit status and the
    output of `authz usage reconcile`; without that comparison 0. killed: None without a SIGKILL.
    """

    answered: int = 0
    seconds: float = 0.0
    made: Counter[str] = field(default_factory=Counter)
    differences: dict[tuple[str, str], int] = field(default_factory=dict)
    missing: int = 0
    repeated: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    reconciled: tuple[int, str] = (0, "")
    killed: Lost | None = None

    @property
    def passed(self) -> bool:
        """Whether every request was counted once, and the store says that none is missing."""
        is_exact = self.answered > 0 and not self.differences and self.missing == 0
        is_told = self.killed is None or self.killed.passed
        return is_exact and is_told and self.reconciled[0] == 0


async def run(
    seconds: float, seed: int, *, meters: int = 3, drains: int = 0, mutant: str = ""
) -> Report:
    """Make requests under faults for `seconds`, and compare. mutant: of worker.py; "": none.

    drains: how often Envoy is drained and replaced meanwhile. With drains it is killed at the end.
    """
    report = Report()
    async with World(meters=meters, seed=seed, mutant=mutant) as world:
        began = time.monotonic()
        is_over = after(seconds)
        faults = Faults(world, seed)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(faults.run(is_over))
            tasks.create_task(drain(world, drains, seconds / (drains + 1)))
            request(world, tasks, is_over)
        report.seconds = time.monotonic() - began
        report.faults, report.made = faults.done, Counter(world.clients.made)
        report.answered = world.clients.answered.total()
        patience = SETTLES if not mutant else SETTLES / 4
        report.differences = await settled(world, patience)
        report.missing = await world.missing()
        report.repeated = await world.repeated()
        if drains:
            report.faults["Envoy drained"] = drains
            report.reconciled = await world.reconcile()
            report.killed = await kill(world)
    return report


def after(seconds: float) -> Callable[[], bool]:
    """Return a function that tells whether so many seconds are over."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def request(world: World, tasks: asyncio.TaskGroup, is_over: Callable[[], bool]) -> None:
    """Start all clients."""
    for _ in range(CLIENTS):
        tasks.create_task(world.clients.run(is_over))


async def drain(world: World, times: int, pause: float) -> None:
    """Drain Envoy so often, each time after a pause."""
    for _ in range(times):
        await asyncio.sleep(pause)
        await world.drain()


async def kill(world: World) -> Lost:
    """Kill Envoy while requests run, start another one, and compare."""
    clients, is_killed = world.clients, False
    async with asyncio.TaskGroup() as tasks:
        request(world, tasks, lambda: is_killed)
        await asyncio.sleep(BEFORE)
        clients.may_break = True
        held, before = await world.proxy.held(), clients.answered.total()
        await world.proxy.kill()
        is_killed = True
    held += clients.answered.total() - before
    clients.may_break = False
    await world.proxy.start()
    async with asyncio.TaskGroup() as tasks:
        request(world, tasks, after(AFTER))
    await world.proxy.delivered()
    found = (await differences(world)).values()
    return Lost(
        held=held,
        cut=clients.broken,
        lost=-sum(number for number in found if number < 0),
        told=await world.missing(),
        too_many=sum(number for number in found if number > 0),
    )


async def settled(world: World, patience: float) -> dict[tuple[str, str], int]:
    """Return the differences once there are none and none come, or after `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        found = await differences(world)
        if not found:
            await asyncio.sleep(MORE)
            return await differences(world)
        if time.monotonic() > deadline or any(number > 0 for number in found.values()):
            return found
        await asyncio.sleep(0.2)


async def differences(world: World) -> dict[tuple[str, str], int]:
    """Return counted minus answered, where they differ."""
    counted, answered = await world.counted(), world.clients.answered
    cases = {*counted, *answered}
    return {
        case: counted[case] - answered[case] for case in cases if counted[case] != answered[case]
    }
