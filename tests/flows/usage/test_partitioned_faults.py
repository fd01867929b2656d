"""Parts of batches that fail, in a simulation: every part counts exactly once."""

import itertools
import random
from collections import Counter

import pytest

from authz.flows.usage.partitioned_meter import PartitionedMeter
from tests.support.memory_usage import MemoryUsage
from tests.support.meter_runs import deliver
from tests.support.metered_partitions import COUNT, KIDS, line_of, partitioned, requests
from tests.support.usage_faults import ClaimsFirst, ConfirmsEarly, CountsWithoutDigest, FaultyUsage

pytestmark = pytest.mark.usefixtures("quick")


class DividesAnew(PartitionedMeter):
    """A mutant: a batch has other parts each time it comes."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self._parts = self

    def of(self, lines):
        """Divide by chance."""
        parts = {}
        for one in lines:
            parts.setdefault(random.randrange(COUNT), []).append(one)
        return parts


class CommitsAgain(PartitionedMeter):
    """Not a mutant: a batch that is sent again is committed again, and its digests tell."""

    def take(self, raw, lines):
        """Forget the batches that wait."""
        self._waiting = _Forgetful()
        return super().take(raw, lines)


class _Forgetful(dict):
    def get(self, _key, _default=None):
        return None

    def __delitem__(self, key):
        self.pop(key, None)


def make_batches(rnd):
    """Return batches of a process, which has charge ids for each partition as the gate does."""
    ids = [itertools.count(1) for _ in range(COUNT)]
    batches = []
    for _ in range(40):
        places = [rnd.randrange(COUNT) for _ in range(rnd.randrange(1, 10))]
        charges = [f"{'ab' * 7}{at:02x}{next(ids[at]):012x}" for at in places]
        entries = zip(places, charges, strict=True)
        batches.append([line_of(at, charge_id=charge) for at, charge in entries])
    return batches


async def simulate(seed, clock, *, make=FaultyUsage, kind=PartitionedMeter):
    """Deliver batches to two meters while parts fail and meters are killed.

    Return whether each request counts once.
    """
    rnd = random.Random(seed)
    memories = [MemoryUsage(clock) for _ in range(COUNT)]
    batches = make_batches(rnd)

    def meter():
        faults = (rnd.choice(["down", "lost", None, None, None]) for _ in itertools.count())
        stores = [make(memory, faults) for memory in memories]
        return partitioned(stores, clock, kind, period=0.0005)

    await deliver(batches, meter, rnd, 0.05)
    sent = Counter(entry.split()[2].decode() for entries in batches for entry in entries)
    wanted = Counter({case: sent[case[1]] for case in enumerate(KIDS)})
    seen = [sum(one.seen for one in await memory.processes()) for memory in memories]
    return (await requests(memories), seen) == (wanted, [sent[kid] for kid in KIDS])


@pytest.mark.parametrize("kind", [PartitionedMeter, CommitsAgain])
async def test_exactly_once_in_each_partition(kind, clock):
    """Requests counted are requests sent, by key, and so are the charge ids of each partition."""
    assert all([await simulate(seed, clock, kind=kind) for seed in range(2)])


@pytest.mark.parametrize(
    "mutant",
    [
        {"kind": ConfirmsEarly},
        {"kind": DividesAnew},
        {"make": CountsWithoutDigest},
        {"make": ClaimsFirst},
    ],
)
async def test_the_simulation_finds_mutants(mutant, clock):
    """Confirming before the last part, other parts, or no digest: each counts wrongly."""
    # Faults meet a batch by chance and by time, so one run may be lucky.
    assert not all([await simulate(seed, clock, **mutant) for seed in range(1, 5)])
