"""A run: episodes on clusters one after another, and the report of the judge."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.chaos.clusters import Hit, faults_of
from tests.chaos.divided_cluster import divided_cluster, servers_in_turn
from tests.chaos.history import now
from tests.counting.judge import Verdict
from tests.counting.plan import COUNT, groups
from tests.counting.world import World
from tests.support.cluster import Cluster

REST = 3.0  # seconds before each fault and at the end
UNDER_TEST = ("limits right", "usage right")
LEAST_USED = 0.9  # of the limits with the most load

Choice = Callable[[random.Random, Cluster], Sequence[Hit]]


@dataclass(slots=True)
class Report:
    """All findings of a run. verdicts: by kind, one for each episode."""

    verdicts: dict[str, list[Verdict]] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    servers: Counter[str] = field(default_factory=Counter)

    def add(self, world: World, found: dict[str, Verdict]) -> None:
        """Add an episode."""
        self.faults.update(world.faults)
        self.servers[world.cluster.server] += 1
        for kind, verdict in found.items():
            self.verdicts.setdefault(kind, []).append(verdict)

    @property
    def violations(self) -> list[str]:
        """The violations of the product."""
        return [
            text for kind in UNDER_TEST for one in self.verdicts[kind] for text in one.violations
        ]

    @property
    def caught(self) -> dict[str, bool]:
        """Whether each mutant has a violation."""
        return {
            kind: any(one.violations for one in found)
            for kind, found in self.verdicts.items()
            if kind not in UNDER_TEST
        }

    @property
    def untried(self) -> list[str]:
        """The limits with the most load that were not used up, in any episode."""
        return [
            group.name
            for partition in range(COUNT)
            for group in groups(partition)
            for one in self.verdicts["limits right"]
            if group.is_used_up and one.most[group.name] < LEAST_USED
        ]

    @property
    def passed(self) -> bool:
        """Whether the product has no violation and every mutant has one."""
        return not self.violations and not self.untried and all(self.caught.values())

    def __str__(self) -> str:
        lines = [f"faults {dict(self.faults)}", f"episodes on {dict(self.servers)}"]
        for kind, found in self.verdicts.items():
            counted, lost = sum(one.counted for one in found), sum(one.lost for one in found)
            excused = max(one.excused for one in found)
            wrong = [text for one in found for text in one.violations]
            shown = wrong if kind in UNDER_TEST else wrong[:1]
            lines.append(
                f"{kind}: {counted} counted, {lost} that later owners may lack, "
                f"{excused} excused at most, violations {shown or 'none'}"
            )
        lines += [f"not used up: {name}" for name in self.untried]
        lines.append("passed" if self.passed else "FAILED")
        return "\n".join(lines)


async def run(
    seed: int,
    seconds: float,
    sidecars: int,
    *,
    servers: Sequence[str] = ("",),
    choose: Choice = faults_of,
) -> Report:
    """Run episodes until the time is up, at least one. choose: the faults of an episode."""
    report, dice, end = Report(), random.Random(seed), now() + seconds
    for played, server in enumerate(servers_in_turn(servers, 1)):
        if played and now() >= end:
            break
        await episode(report, random.Random(dice.random()), sidecars, server, choose)
    return report


async def episode(
    report: Report, dice: random.Random, sidecars: int, server: str, choose: Choice
) -> None:
    """Run an episode with the faults of a cluster, and the mutants."""
    async with (
        divided_cluster(dice, COUNT, server) as (cluster, places),
        World(cluster, dice) as world,
    ):
        await world.start(sidecars)
        for hit in choose(dice, cluster):
            await asyncio.sleep(REST)
            await world.suffer(hit)
            cluster.look_at(dice.choice(places))
        await asyncio.sleep(REST)
        report.add(world, await world.judge())
