"""PartitionedChecker and moved keys: each is decided in the partition where its record lies."""

import asyncio
import inspect
from dataclasses import replace

import pytest

from authz.core.decision import Allow, Deny, Reason, StaleAllow
from authz.core.errors import Elsewhere, Unavailable, Unreadable
from authz.core.keys.text import new_kid
from authz.core.partitions import Partitions
from authz.core.records import Status
from authz.flows.check import Checker
from authz.flows.partitioned.check import PartitionedChecker
from tests.support.caches import make_cache
from tests.support.fakes import (
    FakeClock,
    MemoryKeySource,
    RecordingProbe,
    issue_record,
    make_keyring,
    make_request,
)
from tests.support.flows.rigs import FOREVER, CheckRig, Vouched
from tests.support.tokens import ISSUER, GateRig, claims_of

COUNT = 8
OF = Partitions(COUNT).of
NAMED, HOME = 2, 5


class Moved:
    """Eight partitions, and a key whose kid names partition NAMED and whose record lies in HOME."""

    def __init__(self, *, max_moved=100, may_have_moved=True):
        self.rigs = [CheckRig() for _ in range(COUNT)]
        self.named, self.home = self.rigs[NAMED], self.rigs[HOME]
        self.probes = [rig.probe for rig in self.rigs]
        self.keys = dict(self.key() for _ in range(3))
        self.kid, self.text = next(iter(self.keys.items()))
        self.checker = PartitionedChecker(
            [rig.checker for rig in self.rigs],
            may_have_moved=lambda _: may_have_moved,
            max_moved=max_moved,
        )

    def key(self):
        """Make a moved key. Return kid and text."""
        kid = next(kid for kid in iter(new_kid, "") if OF(kid) == NAMED)
        record, text = issue_record(self.home.keyring, kid=kid, outage_grace=30_000)
        self.home.source.records[kid] = record
        self.named.source.records[kid] = Elsewhere(HOME)
        return kid, text

    @property
    def record(self):
        """The record of the first key."""
        return self.home.source.records[self.kid]

    def begin(self, text=None):
        """Begin a decision on the first key or another one."""
        return self.checker.check(self.home.request(text or self.text))

    async def decide(self, text=None):
        """The decision; all sources reply at once."""
        made = self.begin(text)
        if not inspect.isawaitable(made):
            return made
        task = asyncio.ensure_future(made)
        while not task.done():
            await asyncio.sleep(0)
            for rig in self.rigs:
                rig.source.answer_all()
        return await task

    def loads(self):
        """How many records each partition was asked for."""
        return [sum(rig.source.loads.values()) for rig in self.rigs]

    def decisions(self):
        """All decisions that were counted, by reason; None for an allow."""
        return [one for probe in self.probes for one in probe.decisions]


@pytest.fixture
def moved():
    """Partitions with a moved key."""
    return Moved()


async def test_a_moved_key_is_decided_at_home(moved):
    """The first time the named partition says where it lies; then it is not asked any more."""
    assert await moved.decide() == Allow(moved.record)
    assert moved.loads() == [0, 0, 1, 0, 0, 1, 0, 0]
    assert moved.begin() == Allow(moved.record)
    assert moved.loads() == [0, 0, 1, 0, 0, 1, 0, 0]


async def test_no_refusal_is_counted_for_the_first_look(moved):
    """One request makes one decision, the allow."""
    await moved.decide()
    assert moved.decisions() == [None]


async def test_an_ended_key_is_denied_at_home(moved):
    """A change at home counts, as for every key. The key is remembered as moved."""
    await moved.decide()
    disabled = replace(moved.record, status=Status.DISABLED)
    moved.home.source.records[moved.kid] = disabled
    moved.home.cache.forget(moved.kid, revoked=False)
    assert (await moved.decide()).reason is Reason.DISABLED
    moved.home.source.records.clear()
    moved.home.cache.forget(moved.kid, revoked=False)
    assert (await moved.decide()).reason is Reason.UNKNOWN_KEY
    assert moved.loads()[NAMED] == 1


async def test_a_key_that_is_nowhere_is_unknown_once(moved):
    """Without a record and without an entry the key is unknown, and that is counted once."""
    moved.named.source.records.clear()
    assert await moved.decide() == Deny(Reason.UNKNOWN_KEY)
    assert moved.decisions() == [Reason.UNKNOWN_KEY]
    assert moved.loads() == [0, 0, 1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("fault", [Unreadable("garbled"), Unavailable("no link")])
async def test_an_entry_that_cannot_be_read_is_never_an_answer(moved, fault):
    """The request is unavailable: neither allowed nor unknown."""
    moved.named.source.records[moved.kid] = fault
    assert await moved.decide() == Deny(Reason.UNAVAILABLE)
    assert moved.decisions() == [Reason.UNAVAILABLE]


async def test_without_the_named_partition_a_new_key_is_unavailable(moved):
    """Nobody can say where it lies. One that was decided before is decided at home."""
    _, other = list(moved.keys.items())[1]
    await moved.decide()
    moved.named.cache.trust(0)
    assert await moved.decide(other) == Deny(Reason.UNAVAILABLE)
    assert await moved.decide() == Allow(moved.record)


async def test_a_record_in_another_cache_shows_where_the_key_lies(moved):
    """After a restart from a snapshot the key is served without its named partition."""
    await moved.home.decide(moved.home.request(moved.text))
    moved.named.cache.trust(0)
    assert await moved.decide() == Allow(moved.record)
    moved.home.cache.trust(0)
    assert await moved.decide() == StaleAllow(moved.record)
    moved.home.clock.advance(1e6)
    assert await moved.decide() == Deny(Reason.UNAVAILABLE)


async def test_without_the_home_a_moved_key_is_unavailable(moved):
    """The entry says where it lies; the home cannot be asked."""
    moved.home.cache.trust(0)
    assert await moved.decide() == Deny(Reason.UNAVAILABLE)
    assert await moved.decide() == Deny(Reason.UNAVAILABLE)
    moved.home.cache.trust(FOREVER)
    assert await moved.decide() == Allow(moved.record)


async def test_other_caches_are_not_looked_at_without_moved_keys():
    """In a store without moved keys the kid always names the partition."""
    moved = Moved(may_have_moved=False)
    await moved.home.decide(moved.home.request(moved.text))
    moved.named.cache.trust(0)
    assert await moved.decide() == Deny(Reason.UNAVAILABLE)


async def test_the_oldest_moved_key_is_asked_about_again():
    """The memory of moved keys is bounded. Whatever was forgotten is asked once more."""
    moved = Moved(max_moved=2)
    for text in moved.keys.values():
        assert isinstance(await moved.decide(text), Allow)
    assert moved.loads()[NAMED] == 3
    for text in moved.keys.values():
        assert isinstance(await moved.decide(text), Allow)
    assert moved.loads()[NAMED] == 6
    assert moved.loads()[HOME] == 3


async def test_a_forged_key_costs_no_look(moved):
    """A text that we did not make is refused without I/O, also for the kid of a moved key."""
    await moved.decide()
    assert moved.begin(moved.home.forge(moved.text)) == Deny(Reason.FORGED)
    other = list(moved.keys.values())[1]
    assert moved.begin(moved.home.forge(other)) == Deny(Reason.FORGED)


async def test_a_token_of_a_moved_key():
    """A token is accepted in the first partition, and judged where its key lies."""
    clock, probe = FakeClock(), RecordingProbe()
    tokens = GateRig(clock, probe, ring=make_keyring(issuer=ISSUER))
    kid = next(kid for kid in iter(new_kid, "") if OF(kid) == NAMED)
    record, _ = issue_record(make_keyring(), kid=kid, scopes=frozenset({"a:*"}))
    sources = [MemoryKeySource() for _ in range(COUNT)]
    sources[NAMED].records[kid] = Elsewhere(HOME)
    sources[HOME].records[kid] = record
    caches = [make_cache(source, clock, probe) for source in sources]
    for cache in caches:
        cache.trust(FOREVER)
    checkers = [Checker(one, Vouched("1"), clock, probe, tokens=tokens.gate) for one in caches]
    checker = PartitionedChecker(checkers, may_have_moved=lambda _: True, max_moved=9)
    text = tokens.issue(claims_of(record, scopes=frozenset({"a:read"})))

    def begin():
        return checker.check(make_request(credential=tokens.ring.parse_token(text)))

    task = asyncio.ensure_future(begin())
    while not task.done():
        await asyncio.sleep(0)
        for source in sources:
            source.answer_all()
    assert await task == Allow(record)
    assert probe.decisions == [None]
    assert begin() == Allow(record)
    assert [sum(source.loads.values()) for source in sources] == [0, 0, 1, 0, 0, 1, 0, 0]
