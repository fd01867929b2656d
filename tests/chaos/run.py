"""A run: episodes one after another, and the report of the checker."""

import asyncio
import itertools
import json
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from authz.storage.endpoint import Endpoint
from tests.chaos.checker import Bounds, Verdict, check
from tests.chaos.clusters import faults_of, suffer, watch
from tests.chaos.divided_cluster import divided_cluster, servers_in_turn
from tests.chaos.failovers import fail_over
from tests.chaos.faults import Faults, disconnections
from tests.chaos.history import Outcome, State, now, read_answers
from tests.chaos.late import by_fault, explained
from tests.chaos.mutants import CLUSTER_MUTANTS, MUTANTS, PARTITION_MUTANTS
from tests.chaos.world import World
from tests.support.failover import SERVICE, Replicated
from tests.support.gate import Gate
from tests.support.real import Valkey

LEASE = 1.0
ISOLATION = 2.0  # what a primary takes to close, with min-replicas-max-lag 1
EPISODE = 40.0  # seconds with one store
FAILOVER = 16.0  # about as long as the other kind takes
CLUSTER_SETTLE = 3.0  # seconds: docs/cluster.md has its steps
CALM = 2.5  # seconds at the end of an episode, so that everything can be answered once more
CHANGE_PAUSE = 0.03
LEAST_FAULTS = 2  # in an episode with one store, however short
REST = 3.0  # seconds now and then between two faults, in which nothing is excused
RESTS = 0.3  # share of the pauses that are as long as that
# What the sidecars of a run must have been put to, for it to say anything.
TRIALS = ("dead", "dead token", "within reach", "seen revoked", "acknowledged")

# A full store may refuse what adds data: rights, and the new secret of a rotation.
ADDING = (State.ACTIVE, State.ROTATED)

# The violations of mutants that allow no dead key.
CAUGHT_BY = {
    "one clock": "fault",
    "careless reload": "wrong rules",
    "ask is absence": "false denial",
    "trusting": "false denial",  # of keys that only the new primary has; often a stale allow, too
}


@dataclass(slots=True)
class Report:
    """All findings of a run."""

    verdicts: dict[str, list[Verdict]] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    servers: Counter[str] = field(default_factory=Counter)  # episodes on a cluster of each
    confirmed: int = 0
    unknown: int = 0
    acknowledged: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    late: list[str] = field(default_factory=list)  # what happened around late answers
    returns: dict[str, float] = field(default_factory=dict)  # seconds, the longest by fault

    def add(self, world: World) -> None:
        """Judge an episode."""
        self.faults.update(fault for _, fault in world.faults)
        self.confirmed += world.confirmed
        self.unknown += world.unknown
        self.acknowledged += world.acknowledged
        self.refused.update(world.refused)
        for sidecar in world.sidecars:
            answers = read_answers(sidecar.answers)
            sidecar.outages += json.loads(sidecar.stalls.read_text())
            outages = sidecar.outages_of
            verdict = check(world.keys, answers, outages, world.bounds, sidecar.reloads)
            self.verdicts.setdefault(sidecar.kind, []).append(verdict)
            if sidecar.kind == "leased":
                self.late += explained(sidecar, verdict.late, world.events)
                for fault, seconds in by_fault(verdict.returns, world.faults):
                    self.returns[fault] = max(seconds, self.returns.get(fault, 0.0))

    @property
    def violations(self) -> list[str]:
        """The violations of the sidecars under test, and of changes that take rights away."""
        refused = [
            f"a full store refused {number} changes to {state}"
            for state, number in self.refused.items()
            if number and state not in ADDING
        ]
        return refused + [text for found in self.verdicts["leased"] for text in found.violations]

    @property
    def caught(self) -> dict[str, bool]:
        """Whether each mutant allowed a dead key, or has the violation in CAUGHT_BY."""
        return {
            kind: any(verdict.counts[CAUGHT_BY.get(kind, "stale allow")] for verdict in found)
            for kind, found in self.verdicts.items()
            if kind in MUTANTS | PARTITION_MUTANTS
        }

    @property
    def untried(self) -> list[str]:
        """The promises that nothing in this run could have broken."""
        leased = self.verdicts["leased"]
        never = [trial for trial in TRIALS if not all(found.tried[trial] for found in leased)]
        if not all(found.outcomes[Outcome.ALLOW] for found in leased):
            never.append("a good key")
        return never

    @property
    def passed(self) -> bool:
        """Whether the product has no violation and every mutant has one."""
        return not self.untried and not self.violations and all(self.caught.values())

    def document(self) -> dict:
        """Return the report as plain values."""
        return {
            "changes": {
                "confirmed": self.confirmed,
                "unknown": self.unknown,
                "acknowledged by every sidecar": self.acknowledged,
                "additions refused by a full store": self.refused[State.ACTIVE],
            },
            "faults": dict(self.faults),
            "returns_ms": {fault: round(1000 * s) for fault, s in self.returns.items()},
            "clusters": dict(self.servers),
            "subjects": {kind: _summary(found) for kind, found in self.verdicts.items()},
            "violations": self.violations,
            "late": self.late,
            "untried": self.untried,
            "passed": self.passed,
        }


def _summary(verdicts: list[Verdict]) -> dict:
    outcomes, counts, tried, latest = Counter(), Counter(), Counter(), {}
    for verdict in verdicts:
        outcomes.update(verdict.outcomes)
        counts.update(verdict.counts)
        tried.update(verdict.tried)
        for grace, late in verdict.latest_allow.items():
            latest[grace] = max(late, latest.get(grace, 0.0))
    return {
        "answers": sum(outcomes.values()),
        "outcomes": {outcome.value: count for outcome, count in outcomes.items()},
        "tried": dict(tried),
        "violations": dict(counts),
        "latest_allow_ms": {f"grace {g:g} s": round(1000 * s) for g, s in latest.items()},
        "latest_return_ms": round(1000 * max(verdict.latest_return for verdict in verdicts)),
    }


async def run(seed: int, seconds: float, sidecars: int) -> Report:
    """Run episodes until the time is up. A third of a long run is failovers behind Sentinel."""
    report = Report()
    dice = random.Random(seed)
    end = now() + seconds
    isolated = dice.random() < 0.5
    while (left := end - now()) > FAILOVER or not report.verdicts:
        with_failover = left > 2 * FAILOVER
        length = min(EPISODE, left - FAILOVER) if with_failover else left
        await single_store(report, random.Random(dice.random()), length, sidecars)
        if with_failover:
            await behind_sentinel(report, random.Random(dice.random()), sidecars, isolated=isolated)
            isolated = not isolated
    return report


async def single_store(report: Report, dice: random.Random, seconds: float, sidecars: int) -> None:
    """Run an episode with one store, a gate for every sidecar, the mutants, and all faults."""
    limit = ("--client-output-buffer-limit", "pubsub 256kb 0 0")
    with Valkey(*limit) as valkey:
        async with World(valkey.endpoint, random.Random(dice.random()), Bounds(LEASE)) as world:
            for kind in ["leased"] * sidecars + list(MUTANTS):
                gate = await world.enter_async_context(Gate(valkey.port))
                where = {"url": f"redis://127.0.0.1:{gate.port}/0"}
                await world.start_sidecar(kind, where, gate)
            await world.sidecars_ready()
            faults = Faults(world, valkey, dice)
            changing = asyncio.create_task(_change(world))
            end = now() + seconds - CALM
            await asyncio.sleep(1)
            dropped = 0
            while now() < end or len(world.faults) < LEAST_FAULTS:
                name = faults.pick()
                world.begin(name)
                await faults.checkpoint()
                await asyncio.sleep(dice.uniform(0.1, 1.0))
                before = disconnections(valkey)
                await faults.kinds[name]()
                dropped += max(0, disconnections(valkey) - before)
                await asyncio.sleep(REST if dice.random() < RESTS else dice.uniform(0.3, 1.0))
            report.faults["subscribers dropped by the store"] += dropped
            await _conclude(report, world, changing)


async def behind_sentinel(
    report: Report, dice: random.Random, sidecars: int, *, isolated: bool
) -> None:
    """Run an episode with a failover, without mutants, which cannot use Sentinel."""
    bounds = Bounds(LEASE, ISOLATION)
    async with Replicated() as store, World(store.endpoint, dice, bounds) as world:
        where = {"sentinel": store.sentinel_port, "service": SERVICE}
        for _ in range(sidecars):
            await world.start_sidecar("leased", where)
        await world.sidecars_ready()
        changing = asyncio.create_task(_change(world))
        await asyncio.sleep(dice.uniform(1, 2))
        await fail_over(world, store, isolated=isolated)
        await _conclude(report, world, changing)


async def run_on_cluster(
    seed: int,
    seconds: float,
    sidecars: int,
    *,
    faults: int | None = None,
    counts: Sequence[int] = (8, 1),
    servers: Sequence[str] = ("",),
) -> Report:
    """Run episodes on clusters until the time is up, at least one with each number of partitions.

    faults: in an episode; None: each of them. counts: the numbers of partitions. servers: programs
    that take turns; "" is the packaged Valkey.
    """
    report = Report()
    dice = random.Random(seed)
    end = now() + seconds
    places = zip(itertools.cycle(counts), servers_in_turn(servers, len(counts)), strict=False)
    for played, (count, server) in enumerate(places):
        if played >= len(counts) and now() >= end:
            break
        own = random.Random(dice.random())
        await on_cluster(report, own, sidecars, faults, count, server=server)
    return report


async def on_cluster(
    report: Report,
    dice: random.Random,
    sidecars: int,
    faults: int | None,
    partitions: int,
    *,
    server: str,
) -> None:
    """Run an episode with the faults of a cluster, and its mutants."""
    bounds = Bounds(LEASE, ISOLATION, settle=CLUSTER_SETTLE)
    mutants = PARTITION_MUTANTS if partitions > 1 else CLUSTER_MUTANTS
    async with AsyncExitStack() as stack:
        running = divided_cluster(dice, partitions, server)
        cluster, places = await stack.enter_async_context(running)
        report.servers[cluster.server] += 1
        endpoint = Endpoint.parse(cluster.url, partitions=partitions)
        world = await stack.enter_async_context(World(endpoint, dice, bounds))
        for kind in ["leased"] * sidecars + list(mutants):
            await world.start_sidecar(kind, {"url": cluster.url, "partitions": partitions})
        await world.sidecars_ready()
        changing, watching = (asyncio.create_task(work(world)) for work in (_change, watch))
        await asyncio.sleep(REST)
        for hit in faults_of(dice, cluster)[:faults]:
            await suffer(world, cluster, hit)
            await asyncio.sleep(CLUSTER_SETTLE + REST)
            cluster.look_at(dice.choice(places))
        watching.cancel()
        await _conclude(report, world, changing)


async def _conclude(report: Report, world: World, changing: asyncio.Task[None]) -> None:
    await asyncio.sleep(CALM)
    world.is_over = True  # not a cancellation: redis-py swallows one now and then
    await changing
    await world.stop_sidecars()
    report.add(world)


async def _change(world: World) -> None:
    count = len(world.partitions)
    await asyncio.gather(*(_change_in(world, at, CHANGE_PAUSE * count) for at in range(count)))


async def _change_in(world: World, at: int, pause: float) -> None:
    while not world.is_over:
        await world.change(at)
        await asyncio.sleep(world.dice.uniform(0, 2 * pause))
