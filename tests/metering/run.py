"""One run: requests and faults for some time, then the comparison of counts with answers."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

from tests.metering.faults import Faults
from tests.metering.world import World

CLIENTS = 12
SETTLES = 90.0  # seconds after which everything must be counted
MORE = 1.5  # seconds for which nothing more may be counted


@dataclass
class Report:
    """The result of a run. differences: counted minus answered, by kid and outcome."""

    answered: int = 0
    differences: dict[tuple[str, str], int] = field(default_factory=dict)
    missing: int = 0
    repeated: int = 0
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def passed(self) -> bool:
        """Whether every request was counted once, and the store says that none is missing."""
        return self.answered > 0 and not self.differences and self.missing == 0


async def run(seconds: float, seed: int, *, meters: int = 3, mutant: str = "") -> Report:
    """Make requests under faults for `seconds`, and compare. mutant: of worker.py; "": none."""
    report = Report()
    async with World(meters=meters, seed=seed, mutant=mutant) as world:
        faults, end = Faults(world, seed), time.monotonic() + seconds

        def is_over() -> bool:
            return time.monotonic() > end

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(faults.run(is_over))
            for _ in range(CLIENTS):
                tasks.create_task(world.clients.run(is_over))
        report.faults = faults.done
        report.answered = world.clients.answered.total()
        patience = SETTLES if not mutant else SETTLES / 4
        report.differences = await settled(world, patience)
        report.missing = await world.missing()
        report.repeated = await world.repeated()
    return report


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
