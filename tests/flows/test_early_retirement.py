"""The old secret of a rotation ends early only if usage proves that nobody needs it."""

import gc

import pytest

from authz.core.changes import Author
from authz.core.errors import Unavailable, Unreadable
from authz.core.records import RevocationReason
from authz.core.rotation import RotationPolicies, RotationPolicy
from authz.core.usage.commit import Sight
from authz.core.usage.completeness import Completeness, ProcessSeen, completeness
from authz.core.usage.ports import KeyFacts
from authz.flows.early_retirement import MAX_A_ROUND, MAX_COUNTS, EarlyRetirement
from tests.support.fakes import DAY, NOW
from tests.support.flows.rigs import SPEC, LifecycleRig

HOUR = 3_600_000
POLICIES = RotationPolicies({}, RotationPolicy(90 * DAY, (), DAY))


def counted(**processes):
    """Return the completeness of processes, each given as its issued and its missing requests."""
    issued = {name: number for name, (number, _) in processes.items()}
    seen = [
        ProcessSeen(name, number - gap, number, lost=gap)
        for name, (number, gap) in processes.items()
    ]
    return completeness(issued, seen)


def counts_in_memory():
    """Return how many of these counts this process has."""
    gc.collect()
    return sum(isinstance(one, Completeness) for one in gc.get_objects())


class Rig(LifecycleRig):
    """Keys after a rotation, and what usage says about them."""

    def __init__(self):
        super().__init__()
        self.used = {}
        self.wrong_clock = 0
        self.complete = counted(a=(1000, 5))
        self.start()

    def start(self, policies=POLICIES):
        """A process of `authz admin` starts, perhaps again."""
        self.retirement = EarlyRetirement(
            *(self.read, self, self.keys, policies), clock=self.clock, writer="one"
        )

    async def read(self):
        """Yield all records."""
        for record in list(self.store.records.values()):
            yield record

    async def facts(self, _kid):
        """Implement UsageFacts.facts."""
        secrets = {name: (Sight(at // 1000, "", ""), 1) for name, at in self.used.items()}
        return KeyFacts(None, secrets)

    async def completeness(self):
        """Implement UsageFacts.completeness."""
        return self.complete

    async def misdated(self):
        """Implement UsageFacts.misdated."""
        return self.wrong_clock

    async def rotated(self):
        """Return the two texts of a key that was rotated just now. There was a round before."""
        assert await self.retirement.look() == 0
        first = await self.keys.issue(SPEC, self.author())
        second = await self.keys.rotate(first.record.kid, 7 * DAY, self.author())
        return first.key_text, second.key_text

    async def ends_after_a_day(self, old):
        """Only the new secret is used from now on. The old one ends after a day and not before."""
        for _ in range(23):
            self.later(HOUR)
            self.used["2"] = self.clock.wall_ms() - HOUR // 2
            assert await self.retirement.look() == 0
        assert self.opens(old)
        self.later(HOUR)
        self.used["2"] = self.clock.wall_ms() - HOUR // 2
        assert await self.retirement.look() == 1

    def later(self, ms):
        """Time passes."""
        self.clock.advance(ms / 1000)


@pytest.fixture
def rig():
    """An empty store."""
    return Rig()


@pytest.mark.parametrize(
    ("old", "new", "ends"),
    [
        (None, 47 * HOUR, True),
        (23 * HOUR, 47 * HOUR, True),
        (25 * HOUR, 47 * HOUR, False),  # the old one was used within the day
        (47 * HOUR, 47 * HOUR, False),
        (None, 23 * HOUR, False),  # nor was the new one: perhaps nothing is counted
        (None, None, False),
    ],
)
async def test_only_the_new_secret_was_used(rig, old, new, ends):
    """Two days after the rotation; the times are hours after it."""
    first, second = await rig.rotated()
    times = {"1": old, "2": new}
    rig.used = {name: NOW + at for name, at in times.items() if at is not None}
    rig.later(2 * DAY)
    assert await rig.retirement.look() == ends
    assert (rig.opens(first), rig.opens(second)) == (not ends, True)
    assert await rig.retirement.look() == 0


async def test_a_day_has_to_pass(rig):
    """A secret that is new for less than a day ends no other one."""
    first, _ = await rig.rotated()
    rig.used = {"2": NOW + 22 * HOUR}
    rig.later(DAY - 1)
    assert await rig.retirement.look() == 0
    rig.used = {"2": NOW + DAY}
    rig.later(1)
    assert await rig.retirement.look() == 1
    assert not rig.opens(first)


@pytest.mark.parametrize(
    "found",
    [
        Completeness(),
        Completeness(1000, 980, 20),
        Completeness(5, 0, 5),
        completeness({"a": 1_000_000, "b": 101}, [ProcessSeen("a", 1_000_000, 1_000_000)]),
    ],
)
async def test_incomplete_usage_ends_nothing(rig, found):
    """If requests lack their usage record, a secret in use may look unused."""
    first, _ = await rig.rotated()
    rig.used, rig.complete = {"2": NOW + 47 * HOUR}, found
    rig.later(2 * DAY)
    assert await rig.retirement.look() == 0
    assert rig.opens(first)


async def test_an_envoy_whose_clock_is_off_ends_nothing(rig):
    """Its requests count for no key, so the old secret may be in use there.

    They are noticed for as long as the new secret has to be the only one.
    """
    rig.wrong_clock = 7  # before the first round: nobody knows when
    first, _ = await rig.rotated()
    rig.later(2 * DAY)
    rig.wrong_clock = 8
    assert await rig.retirement.look() == 0
    for _ in range(23):
        rig.later(HOUR)
        rig.used = {"2": rig.clock.wall_ms() - HOUR}
        assert await rig.retirement.look() == 0
    assert rig.opens(first)
    rig.later(HOUR)
    assert await rig.retirement.look() == 1


@pytest.mark.parametrize("rounds", [1, 3])
async def test_an_outage_of_the_meter_ends_nothing(rig, rounds):
    """The old secret may have been used in it, also if few of all requests ever were lost."""
    first, _ = await rig.rotated()
    rig.used = {"1": NOW + 20 * HOUR, "2": NOW + 20 * HOUR}
    rig.complete = counted(a=(1_000_000, 5))
    rig.later(21 * HOUR)
    assert await rig.retirement.look() == 0
    for _ in range(rounds):  # each request of a day is lost
        issued, missing = rig.complete.issued, rig.complete.missing
        rig.complete = counted(a=(issued + 3000 // rounds, missing + 3000 // rounds))
        rig.later(24 * HOUR // rounds)
        assert await rig.retirement.look() == 0
    rig.complete = counted(a=(1_003_100, 3005))
    await rig.ends_after_a_day(first)


@pytest.mark.parametrize("first_round", [0, 2 * DAY])
async def test_nothing_ends_early_after_a_start(rig, first_round):
    """A process that has just started does not know of an outage before."""
    first, _ = await rig.rotated()
    rig.later(2 * DAY)
    rig.start()
    rig.later(first_round)
    rig.used = {"2": rig.clock.wall_ms() - HOUR}
    assert await rig.retirement.look() == 0
    await rig.ends_after_a_day(first)


@pytest.mark.parametrize("lost", [2, 10])
async def test_a_long_outage_in_which_each_round_misses_few(rig, lost):
    """For 3 days each request is lost: a few in an hour."""
    rig.complete = counted(a=(1_000_000, 0))
    first, _ = await rig.rotated()
    for hour in range(1, 73):
        rig.complete = counted(a=(1_000_000 + lost * hour, lost * hour))
        rig.later(HOUR)
        assert await rig.retirement.look() == 0
    rig.complete = counted(a=(1_001_000, lost * 72))
    await rig.ends_after_a_day(first)


async def test_a_slow_outage_within_a_long_time(rig):
    """The counts of 30 days are few, and still show a gap."""
    rig.start(RotationPolicies({}, RotationPolicy(90 * DAY, (), 30 * DAY)))
    before = counts_in_memory()
    rig.complete = counted(a=(1_000_000, 0))
    first = (await rig.keys.issue(SPEC, rig.author())).key_text
    (kid,) = rig.store.records
    await rig.keys.rotate(kid, 80 * DAY, rig.author())
    for hour in range(1, 40 * 24):
        lost = min(12, max(0, hour - 20 * 24))  # one in an hour, then none
        rig.complete = counted(a=(1_000_000 + min(lost, 12) + max(0, hour - 500), lost))
        rig.later(HOUR)
        rig.used["2"] = rig.clock.wall_ms()
        assert await rig.retirement.look() == 0
    assert rig.opens(first)
    assert counts_in_memory() - before <= MAX_COUNTS
    rig.later(15 * DAY)
    rig.used["2"] = rig.clock.wall_ms()
    assert await rig.retirement.look() == 1


async def test_a_process_that_is_forgotten_hides_no_outage(rig):
    """With it, its missing requests leave the sums, and another one loses as many."""
    rig.complete = counted(a=(1_000_000, 3000), b=(1_000_000, 0))
    first, _ = await rig.rotated()
    rig.later(2 * DAY)
    rig.complete = counted(b=(1_003_000, 3000))
    rig.used = {"2": rig.clock.wall_ms() - HOUR}
    assert await rig.retirement.look() == 0
    await rig.ends_after_a_day(first)


async def test_a_process_that_is_forgotten_is_no_gap(rig):
    """Its missing requests were counted before."""
    rig.complete = counted(a=(1_000_000, 3000), b=(1_000_000, 0))
    await rig.rotated()
    rig.later(2 * DAY)
    rig.complete = counted(b=(1_003_000, 10))
    rig.used = {"2": rig.clock.wall_ms() - HOUR}
    assert await rig.retirement.look() == 1


async def test_requests_that_are_under_way_are_no_gap(rig):
    """Some requests have no entry yet whenever a round counts them."""
    await rig.rotated()
    rig.complete = counted(a=(1_000_000, 0))
    await rig.retirement.look()
    rig.used = {"2": NOW + 47 * HOUR}
    rig.complete = counted(a=(1_000_020, 10))
    rig.later(2 * DAY)
    assert await rig.retirement.look() == 1


async def test_other_keys_are_left_alone(rig):
    """A key without an overlap, one that was revoked, and one that changes meanwhile."""
    await rig.keys.issue(SPEC, rig.author())
    text, _ = await rig.rotated()
    kid = next(kid for kid, one in rig.store.records.items() if len(one.secrets) > 1)
    rig.used = {"1": NOW, "2": NOW + 47 * HOUR}
    rig.later(2 * DAY)
    reason = RevocationReason.SUPERSEDED
    await rig.keys.revoke(kid, reason, Author("change", "bob"))
    assert await rig.retirement.look() == 0
    assert not rig.opens(text)


async def test_a_round_is_bounded(rig):
    """At most MAX_A_ROUND secrets end in one round; the next one goes on."""
    for _ in range(MAX_A_ROUND + 3):
        await rig.rotated()
    rig.used = {"2": NOW + 47 * HOUR}
    rig.later(2 * DAY)
    assert [await rig.retirement.look() for _ in range(3)] == [MAX_A_ROUND, 3, 0]


async def test_garbled_usage_of_one_key(rig):
    """The key keeps both secrets, and the others go on."""
    await rig.rotated()
    await rig.rotated()
    rig.used = {"2": NOW + 47 * HOUR}
    garbled, facts = next(iter(rig.store.records)), rig.facts

    async def read(kid):
        if kid == garbled:
            raise Unreadable("s:1: not a row")
        return await facts(kid)

    rig.facts = read
    rig.later(2 * DAY)
    assert await rig.retirement.look() == 1
    assert all(
        one.retires_at is None or one.is_live(rig.clock.wall_ms())
        for one in rig.store.records[garbled].secrets
    )


async def test_a_store_that_fails(rig):
    """Nothing ends if usage cannot be read."""
    first, _ = await rig.rotated()

    async def fail(_kid):
        raise Unavailable("down")

    rig.facts = fail
    rig.later(2 * DAY)
    with pytest.raises(Unavailable):
        await rig.retirement.look()
    assert rig.opens(first)
