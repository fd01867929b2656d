"""Importer: each key once, whatever is lost on the way."""

from collections import deque
from dataclasses import replace

import pytest

from authz.core import new_keys
from authz.core.audit import Action
from authz.core.changes import Author
from authz.core.errors import BadInput, Conflict, OutcomeUnknown, Unavailable
from authz.core.keys.credentials import Alias
from authz.core.policy import judge
from authz.core.records import Status
from authz.flows import resending
from authz.flows.importing import Done, Importer, Wanted
from tests.support.fakes import (
    DAY,
    KID,
    NOW,
    Failure,
    FakeClock,
    MemoryKeyStore,
    make_keyring,
    make_request,
)
from tests.support.flows.rigs import SPEC

OLD_RING, RING = make_keyring("ak", "1"), make_keyring("ak", "1", "2")


def wanted(number=0, ring=RING, **overrides):
    """A key to import."""
    spec = SPEC if not overrides else type(SPEC)(client_id="acme-web", env="live", **overrides)
    return Wanted(ring.parse_imported(f"foreign-key-{number:016}"), spec)


@pytest.fixture
def store():
    """An empty store."""
    return MemoryKeyStore()


@pytest.fixture
def importer(store, monkeypatch):
    """An importer that does not pause."""
    monkeypatch.setattr(resending, "PAUSE", 0)
    return Importer(store, store, FakeClock(), "alice", "moving house")


async def test_import(store, importer):
    """Each key gets a record, an alias that leads to it, and a line in the audit trail."""
    outcomes = await importer.put([wanted(0), wanted(1)])

    assert store.has_imports
    for want, done in zip([wanted(0), wanted(1)], outcomes, strict=True):
        [(version, digest), _] = want.key.hashed().digests()
        assert store.aliases[digest] == done.kid
        record = store.records[done.kid]
        assert record.newest_secret.pepper == version == "2"
        assert judge(record, Alias(done.kid, digest), make_request(), NOW) is None
    assert [(kid, event.action, event.actor, event.note) for _, kid, event in store.audit] == [
        (done.kid, Action.IMPORT, "alice", "moving house") for done in outcomes
    ]
    assert len({change.id for change in store.applied}) == 2


async def test_again(store, importer):
    """A repeated import reports the kid of the existing key and changes nothing."""
    [first] = await importer.put([wanted(0)])
    outcomes = await importer.put([wanted(0), wanted(1)])
    assert outcomes == [Done(first.kid, already=True), outcomes[1]]
    assert not outcomes[1].already
    assert len(store.records) == 2


async def test_again_under_a_newer_pepper(store, importer):
    """A key that was imported under an older pepper is still the same key."""
    [first] = await importer.put([wanted(0, OLD_RING)])
    assert await importer.put([wanted(0)]) == [Done(first.kid, already=True)]
    assert len(store.records) == 1


async def test_again_in_the_form_of_earlier_versions(store, importer):
    """A key whose record has the digest of its text, as earlier versions wrote it, is there."""
    key = wanted(0).key
    author = Author("c1", "alice")
    await store.apply(new_keys.import_key(SPEC, KID, list(key.digests()), author, NOW))
    assert await importer.put([wanted(0)]) == [Done(KID, already=True)]


async def test_clashes(store, importer):
    """A key of another client, and one that was revoked here, is a clash and stays as it is."""
    [first, second] = await importer.put([wanted(0), wanted(1)])
    store.records[second.kid] = replace(store.records[second.kid], status=Status.REVOKED)
    del store.records[first.kid]
    again = await importer.put([wanted(0), wanted(1)])
    assert [(clash.kid, clash.field) for clash in again] == [
        (first.kid, "key"),
        (second.kid, "key"),
    ]


async def test_one_that_cannot_be(store, importer):
    """One that cannot be imported is refused in its place, and the others are imported."""
    bad = wanted(1, life_ms=DAY, not_before=NOW + 2 * DAY)
    first, refused, last = await importer.put([wanted(0), bad, wanted(2)])
    assert isinstance(refused, BadInput)
    assert {first.kid, last.kid} == set(store.records)


async def test_nothing_to_import(store, importer):
    """A batch of which nothing is left does not say that there are imports."""
    assert await importer.put([]) == []
    await importer.put([wanted(1, life_ms=DAY, not_before=NOW + 2 * DAY)])
    assert not store.has_imports
    assert store.applied == []


async def test_rehearsal(store, importer):
    """A rehearsal says what an import would, and writes nothing."""
    [first] = await importer.put([wanted(0)])
    store.has_imports = False
    bad = wanted(2, life_ms=DAY, not_before=NOW + 2 * DAY)
    already, fresh, refused = await importer.rehearse([wanted(0), wanted(1), bad])
    assert already == Done(first.kid, already=True)
    assert not fresh.already
    assert isinstance(refused, BadInput)
    assert (len(store.records), store.has_imports, len(store.applied)) == (1, False, 1)


@pytest.mark.parametrize("failure", [Failure.APPLIED, Failure.NOT_APPLIED])
@pytest.mark.parametrize("times", [1, 2])
async def test_lost_answers(store, importer, failure, times):
    """A batch whose answers were lost is sent again, the same, and makes each key once."""
    store.failures = deque([failure] * times)
    outcomes = await importer.put([wanted(0), wanted(1)])
    assert [done.already for done in outcomes] == [False, False]
    assert {done.kid for done in outcomes} == set(store.records)
    assert len(store.audit) == 2


async def test_store_that_never_confirms(store, importer):
    """After some tries the outcome is unknown; doing it all again is safe."""
    store.failures = deque([Failure.APPLIED] * 3)
    with pytest.raises(OutcomeUnknown):
        await importer.put([wanted(0)])
    [done] = await importer.put([wanted(0)])
    assert done.already


async def test_lost_answer_then_no_store(store, importer):
    """When nothing can be sent after an answer was lost, the outcome stays unknown."""
    store.failures = deque([Failure.APPLIED, Failure.NOT_SENT, Failure.NOT_SENT])
    with pytest.raises(OutcomeUnknown):
        await importer.put([wanted(0)])


async def test_store_that_is_not_there(store, importer):
    """Without a store nothing is imported."""
    store.down = True
    with pytest.raises(Unavailable):
        await importer.put([wanted(0)])
    store.down = False
    assert store.records == {}


async def test_refused_by_the_store(store, importer, monkeypatch):
    """A store that refuses a change ends the import with its words."""

    async def refuse(changes):
        return [Unavailable("maxmemory") for _ in changes]

    monkeypatch.setattr(store, "apply_all", refuse)
    with pytest.raises(Unavailable, match="maxmemory"):
        await importer.put([wanted(0)])


async def test_changed_by_somebody_while_the_answer_was_lost(store, importer, monkeypatch):
    """A conflict on one's own kid means that it was made, and changed since."""

    async def conflict(changes):
        return [Conflict("at version 2") for _ in changes]

    monkeypatch.setattr(store, "apply_all", conflict)
    [done] = await importer.put([wanted(0)])
    assert not done.already


def test_nothing_shows_the_key():
    """The repr of a wanted import does not show the key."""
    assert "foreign" not in repr(wanted(0))
