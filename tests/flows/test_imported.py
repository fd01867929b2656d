"""ImportedKeys, and what the checker decides of them: alias, then record, all under trust."""

import asyncio
from dataclasses import replace

import pytest

from authz.core.decision import Allow, Deny, Reason, StaleAllow, StaleDeny
from authz.core.errors import Unavailable
from authz.core.events import Event
from authz.core.keys.credentials import Alias
from authz.core.records import Secret, Status
from authz.flows.check import Checker
from tests.support.fakes import KID, NOW, make_record, make_request
from tests.support.flows.imported import FOREIGN, NEWEST, OLDER, RECORD, RING, ImportedRig
from tests.support.flows.rigs import FOREVER, CacheRig, Vouched

GRACE = 30.0


@pytest.fixture
async def rig():
    """Nothing is cached."""
    return ImportedRig()


async def test_alias_then_record(rig):
    """A miss costs one lookup of the alias and one of the record; after that there is no I/O."""
    assert await rig.decide() == Allow(RECORD)
    assert (rig.aliases.lookups[NEWEST], rig.source.loads[KID]) == (1, 1)

    assert rig.begin() == Allow(RECORD)
    assert (rig.aliases.lookups[NEWEST], rig.source.loads[KID]) == (1, 1)
    assert rig.probe.decisions == [None, None]
    assert rig.probe.events[Event.ALIAS_MISS] == 1


async def test_older_pepper(rig):
    """A key that was imported under an older pepper is found by that digest."""
    rig.aliases.kids = {OLDER: KID}
    rig.source.records[KID] = old = replace(RECORD, secrets=(Secret("1", OLDER, "1", NOW),))
    assert await rig.decide() == Allow(old)
    assert rig.begin() == Allow(old)


async def test_a_key_that_came_as_a_hash(rig):
    """A key that was imported by its hash is found by one lookup, then without I/O."""
    [(_, hashed), (_, older)] = RING.parse_imported(FOREIGN).hashed().digests()
    for digest in (hashed, older):
        rig = ImportedRig()
        rig.aliases.kids = {digest: KID}
        rig.source.records[KID] = record = replace(RECORD, secrets=(Secret("1", digest, "2", NOW),))
        assert await rig.decide() == Allow(record)
        assert rig.begin() == Allow(record)
        assert rig.aliases.lookups == {NEWEST: 1}


async def test_the_digest_of_the_text_wins(rig):
    """A record under the text decides even if the hash leads to another: it may be revoked."""
    [(_, hashed), _] = RING.parse_imported(FOREIGN).hashed().digests()
    rig.aliases.kids[hashed] = "0" * 16
    assert await rig.decide() == Allow(RECORD)


@pytest.mark.parametrize(
    ("known", "reason"), [(False, Reason.MALFORMED), (None, Reason.UNAVAILABLE)]
)
async def test_no_imports(rig, known, reason):
    """Without imports such a text is garbage; while that is not known, neither. No I/O."""
    rig.aliases.known = known
    assert rig.begin() == Deny(reason)
    assert not rig.aliases.pending
    assert rig.probe.decisions == [reason]


async def test_checker_without_imports():
    """A checker that was given no imported keys knows none."""
    rig = CacheRig()
    checker = Checker(rig.cache, Vouched(), rig.clock, rig.probe)
    request = make_request(credential=RING.parse_imported(FOREIGN))
    assert checker.check(request) == Deny(Reason.MALFORMED)


async def test_unknown(rig):
    """A text without an alias is an unknown key; that is remembered, but not for long."""
    del rig.aliases.kids[NEWEST]
    for _ in range(3):
        assert await rig.decide() == Deny(Reason.UNKNOWN_KEY)
    assert rig.aliases.lookups[NEWEST] == 1
    assert rig.probe.events[Event.ALIAS_NEGATIVE_HIT] == 3

    rig.clock.advance(5)
    assert await rig.decide() == Deny(Reason.UNKNOWN_KEY)
    assert rig.aliases.lookups[NEWEST] == 2


@pytest.mark.parametrize("tell", ["change", "flush"])
async def test_any_change_may_be_an_import(rig, tell):
    """A change of whatever key, or a flush, ends what was known to be absent."""
    del rig.aliases.kids[NEWEST]
    assert await rig.decide() == Deny(Reason.UNKNOWN_KEY)
    rig.aliases.kids[NEWEST] = KID
    if tell == "change":
        rig.keys.forget("0" * 16, revoked=False)
    else:
        rig.keys.flush()
    assert await rig.decide() == Allow(RECORD)


async def test_import_between_the_answer_and_the_waiter(rig):
    """A change that is told after the answer and before its waiter wakes is not missed."""
    waiting = rig.begin()
    await asyncio.sleep(0)
    rig.aliases.answer(None)
    rig.keys.forget(KID, revoked=False)
    await rig.asked()
    rig.aliases.answer_all()
    while not waiting.done():
        await asyncio.sleep(0)
        rig.source.answer_all()
    assert await waiting == Allow(RECORD)


async def test_imports_without_a_pause(rig):
    """Absence that never stays known is Unavailable in the end, not waited for without end."""
    waiting = rig.begin()
    for _ in range(3):
        await rig.asked()
        rig.aliases.answer(None)
        rig.keys.forget(KID, revoked=False)
    assert await waiting == Deny(Reason.UNAVAILABLE)


async def test_revocation_reaches_the_record(rig):
    """The alias stays through changes and flushes; the record behind it does not."""
    await rig.decide()
    rig.source.records[KID] = replace(RECORD, status=Status.REVOKED, version=2)
    rig.keys.forget(KID, revoked=True)
    assert (await rig.decide()).reason is Reason.REVOKED
    rig.keys.flush()
    rig.source.records[KID] = RECORD  # a store that went back in time
    assert (await rig.decide()).reason is Reason.REVOKED
    assert rig.aliases.lookups[NEWEST] == 1


async def test_no_trust(rig):
    """Without trust a cached key and an unknown text are Unavailable, at once and without I/O."""
    await rig.decide()
    rig.keys.trust(0)
    for text in (FOREIGN, "another-key-0123456789"):
        assert await rig.decide(text) == Deny(Reason.UNAVAILABLE)
    assert rig.aliases.lookups.total() == 1


@pytest.mark.parametrize("known", [True, None])
async def test_known_key_goes_on_in_an_outage(known):
    """For its grace, without I/O, whether or not imports are remembered; unknown texts do not."""
    rig = ImportedRig(grace=GRACE)
    await rig.decide()
    rig.keys.trust(0)
    rig.keys.flush()
    rig.aliases.known = known
    rig.clock.advance(GRACE - 0.001)
    decision = rig.begin()
    assert (type(decision), decision.key) == (StaleAllow, RECORD)
    assert await rig.decide("another-key-0123456789") == Deny(Reason.UNAVAILABLE)

    rig.clock.advance(0.002)
    assert await rig.decide() == Deny(Reason.UNAVAILABLE)
    assert rig.aliases.lookups.total() == 1
    assert rig.probe.events[Event.STALE_ALLOWED] == 1


async def test_own_grace():
    """A key that must not go on does not, whatever the sidecar is set to."""
    rig = ImportedRig(grace=GRACE)
    rig.source.records[KID] = replace(RECORD, outage_grace=0)
    await rig.decide()
    rig.keys.trust(0)
    assert await rig.decide() == Deny(Reason.UNAVAILABLE)


async def test_revoked_key_stays_denied_in_an_outage():
    """A revoked imported key is denied for as long as the outage lasts."""
    rig = ImportedRig(grace=GRACE)
    await rig.decide()
    rig.keys.forget(KID, revoked=True)
    rig.keys.trust(0)
    rig.clock.advance(1000 * GRACE)
    decision = await rig.decide()
    assert (type(decision), decision.reason) == (StaleDeny, Reason.REVOKED)


async def test_store_of_another():
    """Aliases of a store that turns out not to be ours are dropped."""
    rig = ImportedRig(grace=GRACE)
    await rig.decide()
    rig.keys.flush(foreign=True)
    rig.keys.trust(0)
    assert await rig.decide() == Deny(Reason.UNAVAILABLE)

    rig.keys.trust(FOREVER)
    assert await rig.decide() == Allow(RECORD)
    assert rig.aliases.lookups[NEWEST] == 2


async def test_restarted_in_an_outage():
    """A restarted process serves the aliases and records of its predecessor, up to its bound."""
    rig, other = ImportedRig(grace=GRACE), ImportedRig(grace=GRACE, max_entries=1)
    await rig.decide()
    rig.keys._kids = {b"o" * 32: "0" * 16} | rig.keys._kids
    rig.keys.trust(0)

    other.keys.trust(0)
    other.keys.restore(rig.keys.contents())

    decision = await other.decide()
    assert (type(decision), decision.key) == (StaleAllow, RECORD)
    assert list(other.keys._kids) == [NEWEST]


async def test_store_that_fails_in_a_lookup_is_an_outage():
    """Trust that ends while the record is read anew is gone on without."""
    rig = ImportedRig(grace=GRACE)
    await rig.decide()
    rig.clock.advance(61)
    waiting = rig.begin()
    while KID not in rig.source.pending:
        await asyncio.sleep(0)
    rig.keys.trust(0)
    rig.source.answer(KID, Unavailable("link lost"))
    decision = await waiting
    assert (type(decision), decision.key) == (StaleAllow, RECORD)


async def test_trust_that_ends_while_waiting(rig):
    """Absence that arrives after trust has ended is not believed."""
    waiting = rig.begin()
    await asyncio.sleep(0)
    rig.keys.trust(0)
    rig.aliases.answer(None)
    assert await waiting == Deny(Reason.UNAVAILABLE)


async def test_fault(rig):
    """A fault is Unavailable, and is not remembered."""
    waiting = rig.begin()
    await asyncio.sleep(0)
    rig.aliases.answer(Unavailable("the store is empty"))
    assert await waiting == Deny(Reason.UNAVAILABLE)
    assert await rig.decide() == Allow(RECORD)


async def test_store_that_does_not_answer():
    """A lookup has a deadline, and its late answer serves the next request."""
    rig = ImportedRig(deadline=0.01)
    assert await rig.begin() == Deny(Reason.UNAVAILABLE)
    assert rig.probe.events[Event.LOOKUP_TIMEOUT] == 1
    rig.aliases.answer_all()
    assert await rig.decide() == Allow(RECORD)
    assert rig.aliases.lookups[NEWEST] == 1


async def test_one_lookup_for_many(rig):
    """Many who ask at once share a lookup; one who goes away takes it from nobody."""
    waiting = [rig.begin() for _ in range(5)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    rig.aliases.answer_all()
    while not all(task.done() for task in waiting):
        await asyncio.sleep(0)
        rig.source.answer_all()
    assert [await task for task in waiting[1:]] == [Allow(RECORD)] * 4
    assert rig.aliases.lookups[NEWEST] == 1


async def test_rate(rig):
    """Lookups beyond the rate are Unavailable and counted; what is cached is not slowed down."""
    rig = ImportedRig(rate=3)
    await rig.decide()
    garbage = [f"garbage-{number:016}" for number in range(5)]
    reasons = [(await rig.decide(text)).reason for text in garbage]
    assert reasons == [Reason.UNKNOWN_KEY] * 2 + [Reason.UNAVAILABLE] * 3
    assert rig.probe.events[Event.ALIAS_LOOKUP_LIMITED] == 3
    assert rig.begin() == Allow(RECORD)
    assert (await rig.decide(garbage[0])).reason is Reason.UNKNOWN_KEY

    rig.clock.advance(1)
    assert (await rig.decide(garbage[4])).reason is Reason.UNKNOWN_KEY


async def test_a_flood_leaves_lookups_to_other_addresses():
    """One address that floods does not use up the lookups of the others."""
    rig = ImportedRig(rate=16)
    for second in range(3):
        for number in range(100):
            rig.begin(f"stranger-{1000 * second + number:032}", "198.51.100.1")
        await asyncio.sleep(0)
        rig.clock.advance(1)
        rig.aliases.answer_all()
    for number in range(100):
        rig.begin(f"stranger-{9000 + number:032}", "198.51.100.1")
    await asyncio.sleep(0)
    rig.aliases.answer_all()
    assert rig.probe.events[Event.ALIAS_LOOKUP_LIMITED] > 0
    assert await rig.decide(FOREIGN, "192.0.2.1") == Allow(RECORD)


async def test_bounds():
    """Aliases and absences are bounded apart, the oldest go first."""
    rig = ImportedRig(max_entries=2, max_negatives=2)
    await rig.decide()
    for number in range(4):
        assert (await rig.decide(f"garbage-{number:016}")).reason is Reason.UNKNOWN_KEY
    assert len(rig.keys._absent_until) == 2
    assert rig.begin() == Allow(RECORD)

    for number in range(2):
        text = f"good-key-{number:016}"
        [(_, digest), _] = RING.parse_imported(text).digests()
        kid = f"{number:016}"
        rig.aliases.kids[digest] = kid
        rig.source.records[kid] = made = replace(
            RECORD, kid=kid, secrets=(Secret("1", digest, "2", NOW),)
        )
        assert await rig.decide(text) == Allow(made)
    assert len(rig.keys._kids) == 2
    assert await rig.decide() == Allow(RECORD)
    assert rig.aliases.lookups[NEWEST] == 2


async def test_store_that_was_set_up_anew(rig):
    """An alias whose record is gone is looked up again: the key may have been imported anew."""
    await rig.decide()
    other = "0" * 16
    rig.aliases.kids[NEWEST] = other
    rig.source.records = {other: replace(RECORD, kid=other)}
    rig.keys.flush()
    assert await rig.decide() == Allow(replace(RECORD, kid=other))


async def test_alias_without_a_record(rig):
    """An alias that leads nowhere is an unknown key, and the store is not asked for ever."""
    del rig.source.records[KID]
    assert await rig.decide() == Deny(Reason.UNKNOWN_KEY)
    assert rig.aliases.lookups[NEWEST] == 3


async def test_alias_of_another_record(rig):
    """The digest proves the key: an alias that leads to another's record opens nothing."""
    rig.source.records[KID] = make_record()
    assert await rig.decide() == Deny(Reason.WRONG_SECRET)


async def test_peek_is_about_what_is_cached(rig):
    """An alias whose record is not cached is no hit."""
    await rig.decide()
    rig.keys.forget(KID, revoked=False)
    assert rig.keys.peek(RING.parse_imported(FOREIGN)) is None
    assert await rig.decide() == Allow(RECORD)
    assert rig.aliases.lookups[NEWEST] == 1


async def test_alias_knows_its_digest(rig):
    """An alias returns the digest by which it was found."""
    await rig.decide()
    alias, record = rig.keys.peek(RING.parse_imported(FOREIGN))
    assert isinstance(alias, Alias)
    assert (alias.kid, alias.digest(), record) == (KID, NEWEST, RECORD)


# the index of imported digests


async def test_index_excludes_strangers(rig):
    """A complete index refuses a stranger's text without a lookup, whatever the rate."""
    rig.digests.complete, rig.digests.known = True, {NEWEST}
    for number in range(1000):
        assert rig.begin(f"sk-stranger-0123456789abcdef-{number}") == Deny(Reason.UNKNOWN_KEY)
    assert not rig.aliases.lookups
    assert rig.probe.events[Event.ALIAS_EXCLUDED] == 1000
    assert await rig.decide() == Allow(RECORD)


async def test_index_without_trust(rig):
    """Without trust a complete index refuses nobody."""
    rig.digests.complete = True
    rig.keys.trust(0)
    assert await rig.decide("sk-stranger-0123456789abcdef") == Deny(Reason.UNAVAILABLE)


async def test_known_digests_cost_no_budget():
    """A key that is in the index is looked up beyond the rate; others are not."""
    rig = ImportedRig(rate=1)
    rig.digests.known = {NEWEST}
    assert await rig.decide("sk-stranger-0123456789abcdef") == Deny(Reason.UNKNOWN_KEY)
    assert await rig.decide("sk-stranger-0123456789abcdef-2") == Deny(Reason.UNAVAILABLE)
    assert await rig.decide() == Allow(RECORD)
