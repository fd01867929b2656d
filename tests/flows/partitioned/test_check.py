"""PartitionedChecker: each request is decided in the partition of its key, and only there."""

import asyncio
import inspect
from typing import NamedTuple

import pytest

from authz.core.decision import Allow, Deny, Reason, StaleAllow
from authz.core.errors import Unavailable
from authz.core.keys.text import new_kid
from authz.core.partitions import Partitions
from authz.core.request import Route
from authz.flows.check import Checker
from authz.flows.keycache import KeyCache
from authz.flows.partitioned.check import PartitionedChecker
from authz.wiring.partition import checker_of
from tests.support.caches import make_cache
from tests.support.fakes import (
    KID,
    FakeClock,
    MemoryKeySource,
    RecordingProbe,
    issue_record,
    make_keyring,
    make_request,
)
from tests.support.flows.imported import FOREIGN, NEWEST, RECORD, RING, ImportedRig
from tests.support.flows.rigs import FOREVER, CheckRig, Vouched
from tests.support.tokens import ISSUER, GateRig, claims_of

GRACE = 30.0


class Part(NamedTuple):
    """The cache and the checker of a partition."""

    cache: KeyCache
    checker: Checker


COUNT = 8
OF = Partitions(COUNT).of
IMPORTED = make_request(credential=RING.parse_imported(FOREIGN))


def over(checkers):
    """Return a checker over those of all partitions."""
    return PartitionedChecker(checkers, may_have_moved=lambda _: True, max_moved=10)


class Native:
    """Eight partitions, and a key that only its own partition knows."""

    def __init__(self):
        self.rigs = [CheckRig() for _ in range(COUNT)]
        self.own = next(rig for at, rig in enumerate(self.rigs) if OF(rig.record.kid) == at)

    @property
    def checker(self):
        """The checker of all."""
        return over([rig.checker for rig in self.rigs])


@pytest.fixture
def native():
    """Partitions of which at least one has a key that is at home there."""
    while True:
        try:
            return Native()
        except StopIteration:
            continue


async def settled(decision):
    """The decision, after all sources have answered."""
    return await decision if inspect.isawaitable(decision) else decision


async def test_the_partition_of_the_kid_decides(native):
    """Only its source is asked, and only its cache has the record."""
    await native.own.warm()
    decision = native.checker.check(native.own.request(native.own.text))
    assert decision == Allow(native.own.record)
    assert native.checker.hits == native.own.checker.hits > 0
    assert all(not rig.source.loads for rig in native.rigs if rig is not native.own)


async def test_a_partition_without_trust_ends_no_other(native):
    """Without trust in its own partition a key is not decided on; without another it is."""
    for rig in native.rigs:
        if rig is not native.own:
            rig.cache.trust(0)
    assert await native.own.decide(native.own.request(native.own.text)) == Allow(native.own.record)
    assert native.checker.check(native.own.request(native.own.text)) == Allow(native.own.record)
    native.own.cache.trust(0)
    for rig in native.rigs:
        if rig is not native.own:
            rig.cache.trust(FOREVER)
    found = native.checker.check(native.own.request(native.own.text))
    assert (await settled(found)).reason is Reason.UNAVAILABLE


@pytest.mark.parametrize(
    ("route", "expected"),
    [(Route(), Deny(Reason.MISSING_CREDENTIAL)), (Route(optional=True), Allow(None))],
)
def test_a_request_without_a_key(native, route, expected):
    """A request without a key is decided without a partition."""
    assert native.checker.check(make_request(route=route)) == expected


@pytest.mark.parametrize("place", [0, 1, 7])
async def test_a_token_is_judged_in_the_partition_of_its_key(place):
    """The first partition has the signing keys. Without its trust they count for the grace."""
    clock, probe = FakeClock(), RecordingProbe()
    tokens = GateRig(clock, probe, ring=make_keyring(issuer=ISSUER))
    kid = next(kid for kid in iter(new_kid, "") if OF(kid) == place)
    record, _ = issue_record(make_keyring(), kid=kid, scopes=frozenset({"a:*"}))
    source = MemoryKeySource()
    source.records[kid] = record
    caches = [make_cache(source, clock, probe, grace=GRACE) for _ in range(COUNT)]
    parts = [
        Part(cache, Checker(cache, Vouched("1"), clock, probe, tokens=tokens.gate))
        for cache in caches
    ]
    for cache in caches:
        cache.trust(FOREVER)
    checker = checker_of(parts, clock, GRACE)
    text = tokens.issue(claims_of(record, scopes=frozenset({"a:read"})))

    async def decide():
        made = checker.check(make_request(credential=tokens.ring.parse_token(text)))
        if not inspect.isawaitable(made):
            return made
        task = asyncio.ensure_future(made)
        await asyncio.sleep(0)
        source.answer_all()
        return await task

    assert await decide() == Allow(record)
    assert [len(cache) for cache in caches] == [at == place for at in range(COUNT)]
    caches[0].trust(0)
    clock.advance(GRACE - 1)
    assert isinstance(await decide(), (StaleAllow, Allow))
    clock.advance(1)
    assert await decide() == Deny(Reason.UNAVAILABLE)
    caches[0].trust(FOREVER)
    assert await decide() == Allow(record)


class Foreign:
    """Eight partitions, and an imported key in the one at `home`. Each index is complete."""

    def __init__(self, home=5, **settings):
        self.rigs = [ImportedRig(**settings) for _ in range(COUNT)]
        self.home = self.rigs[home]
        for rig in self.rigs:
            rig.digests.complete = True
            if rig is not self.home:
                rig.aliases.kids.clear()
                rig.source.records.clear()
        self.home.digests.known = {NEWEST}
        self.checker = over([rig.checker for rig in self.rigs])

    async def decide(self):
        """The decision; all sources reply at once."""
        made = self.checker.check(IMPORTED)
        if not inspect.isawaitable(made):
            return made
        task = asyncio.ensure_future(made)
        while not task.done():
            await asyncio.sleep(0)
            for rig in self.rigs:
                rig.aliases.answer_all()
                rig.source.answer_all()
        return await task

    @property
    def lookups(self):
        """How many lookups of aliases each partition had."""
        return [sum(rig.aliases.lookups.values()) for rig in self.rigs]


async def test_where_an_imported_key_was_found_is_remembered(monkeypatch):
    """A cache hit asks its partition alone; after a flush the others are asked again."""
    parts = Foreign(home=5)
    await parts.decide()
    assert await parts.decide() == Allow(RECORD)
    walked = []
    for rig in parts.rigs:
        if rig is not parts.home:
            monkeypatch.setattr(rig.keys, "peek", lambda _: walked.append(1))
    assert parts.checker.check(IMPORTED) == Allow(RECORD)
    assert not walked
    parts.home.keys.flush(foreign=True)
    assert await parts.decide() == Allow(RECORD)
    assert walked


async def test_the_index_names_the_partition_of_an_imported_key():
    """No other partition is asked; the second time none is."""
    foreign = Foreign()
    assert await foreign.decide() == Allow(RECORD)
    assert foreign.lookups == [0, 0, 0, 0, 0, 1, 0, 0]
    assert foreign.checker.check(IMPORTED) == Allow(RECORD)
    assert foreign.home.source.loads[KID] == 1


async def test_a_text_that_every_index_excludes():
    """Such a text is unknown, without I/O, also if some partitions have no imports."""
    foreign = Foreign()
    foreign.home.digests.known = set()
    foreign.rigs[0].aliases.known = False
    assert foreign.checker.check(IMPORTED) == Deny(Reason.UNKNOWN_KEY)
    assert sum(foreign.lookups) == 0


async def test_no_partition_has_imports():
    """Then the text is malformed. While one partition does not know, the answer is not known."""
    foreign = Foreign()
    for rig in foreign.rigs:
        rig.aliases.known, rig.digests.complete = False, False
    assert foreign.checker.check(IMPORTED) == Deny(Reason.MALFORMED)
    foreign.rigs[2].aliases.known = None
    foreign.rigs[2].keys.trust(0)
    assert await foreign.decide() == Deny(Reason.UNAVAILABLE)


async def test_without_complete_indexes_all_partitions_are_asked():
    """The one that has the key decides; if none has it, the text is unknown."""
    foreign = Foreign()
    for rig in foreign.rigs:
        rig.digests.complete, rig.digests.known = False, set()
    assert await foreign.decide() == Allow(RECORD)
    assert foreign.lookups == [1] * COUNT
    for rig in foreign.rigs:
        rig.aliases.kids.clear()
        rig.keys._kids.clear()
    assert await foreign.decide() == Deny(Reason.UNKNOWN_KEY)


async def test_a_partition_that_cannot_be_asked_may_have_the_key():
    """The answer is not known then. A key whose partition is known is decided on all the same."""
    foreign = Foreign()
    foreign.rigs[1].keys.trust(0)
    assert await foreign.decide() == Allow(RECORD)
    assert foreign.lookups == [0, 0, 0, 0, 0, 1, 0, 0]

    other = Foreign()
    other.home.digests.known = set()
    other.home.aliases.kids.clear()
    other.rigs[1].keys.trust(0)
    assert await other.decide() == Deny(Reason.UNAVAILABLE)


async def test_a_fault_of_one_partition_is_no_proof():
    """A lookup that failed says nothing about the key."""
    foreign = Foreign()
    for rig in foreign.rigs:
        rig.digests.complete, rig.digests.known = False, set()
    foreign.home.aliases.kids.clear()
    task = asyncio.ensure_future(foreign.checker.check(IMPORTED))
    while not foreign.rigs[-1].aliases.pending:
        await asyncio.sleep(0)
    foreign.rigs[3].aliases.answer(Unavailable("gone"))
    for rig in foreign.rigs:
        rig.aliases.answer_all()
    assert await task == Deny(Reason.UNAVAILABLE)


async def test_an_imported_key_in_an_outage_of_its_partition():
    """A cached record is served stale, as with one partition."""
    foreign = Foreign(grace=30.0)
    assert await foreign.decide() == Allow(RECORD)
    foreign.home.keys.trust(0)
    assert await foreign.decide() == StaleAllow(RECORD)
    foreign.rigs[1].keys.trust(0)
    assert await foreign.decide() == StaleAllow(RECORD)


async def test_a_key_that_was_imported_anew_in_another_partition():
    """An index never forgets a digest, so the partition that lost the key does not decide."""
    foreign = Foreign()
    foreign.rigs[2].digests.known = {NEWEST}
    assert await foreign.decide() == Allow(RECORD)
    assert foreign.lookups == [0, 0, 1, 0, 0, 1, 0, 0]


async def test_each_decision_is_counted_once():
    """A decision of several partitions counts once."""
    foreign = Foreign()
    for rig in foreign.rigs:
        rig.digests.complete, rig.digests.known = False, set()
    await foreign.decide()
    assert [reason for rig in foreign.rigs for reason in rig.probe.decisions] == [None]
    foreign.home.keys.trust(0)
    foreign.home.keys._kids.clear()
    await foreign.decide()
    found = [reason for rig in foreign.rigs for reason in rig.probe.decisions]
    assert sorted(map(str, found)) == ["None", str(Reason.UNAVAILABLE)]
