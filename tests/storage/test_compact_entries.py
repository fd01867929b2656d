"""Compact entries of the audit trail: the same fields, the same mark, the same hash."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core import deletion
from authz.core.audit import Action, AuditEvent
from authz.core.errors import Unreadable
from authz.core.trail.rows import Proof, row_hash
from authz.storage import compact_entries, encoding, schema
from authz.storage.backup import Backup
from authz.storage.deletions import StoredDeletions
from authz.storage.listing import StoredTrail
from authz.storage.restore import Restore
from authz.storage.sealed_lines import SealedWriter, read
from authz.storage.trail import StoredRows, entry_of
from authz.storage.verified_backup import verify
from tests.support.changes import author
from tests.support.fakes import KID, NOW, make_keyring
from tests.support.storage import stored
from tests.support.storage.changing import issued, revoked
from tests.support.storage.sidecar import administration

RING = make_keyring()
KEYS = RING.trail_keys
WORDS = st.text(st.characters(codec="utf-8"), max_size=30)
EVENTS = st.builds(
    AuditEvent,
    action=st.sampled_from(Action),
    actor=WORDS,
    note=WORDS,
    at=st.integers(0, 10**14),
    detail=st.dictionaries(
        WORDS | st.sampled_from(["client_id", "expires_at"]),
        WORDS | st.integers() | st.none() | st.booleans() | st.lists(WORDS, max_size=2),
        max_size=4,
    ),
    source=WORDS,
    request_id=WORDS,
)
CHANGE_IDS = st.binary(min_size=16, max_size=16).map(bytes.hex) | WORDS.filter(bool)


def marked(event, change_id="c" * 32, base=7):
    """Return the fields of an entry with its mark, without the kid."""
    fields = encoding.encode_event(event, change_id, base)
    return {**fields, "mac": KEYS.marked({"kid": KID, **fields})["mac"]}


def row(fields):
    """Return the row of a compact entry as the store gives it."""
    text = compact_entries.pack(fields).decode(errors="surrogateescape")
    return {"kid": KID, compact_entries.ENTRY: text}


def compacted(valkey):
    """Set the mark of a store with compact records."""
    valkey.admin.hset(stored.META, schema.META_COMPACT, schema.ALL_COMPACT)


@given(EVENTS, CHANGE_IDS, st.integers(0, 10**14))
def test_round_trip(event, change_id, base):
    """The compact form of any entry gives all its fields back, so its mark stays right."""
    fields = marked(event, change_id, base)
    found = compact_entries.unpacked(row(fields))
    assert found == {"kid": KID, **fields}
    assert encoding.decode_event(found) == (base, event)
    assert KEYS.check(found) is Proof.VALID
    assert row_hash("1-0", found) == row_hash("1-0", {"kid": KID, **fields})


@given(EVENTS, st.integers(0, 10**6), st.integers(1, 255))
def test_a_changed_byte(event, place, by):
    """An entry with any changed byte has a wrong mark, or none of its fields can be read."""
    text = bytearray(compact_entries.pack(marked(event)))
    text[place % len(text)] ^= by
    damaged = {"kid": KID, compact_entries.ENTRY: bytes(text).decode(errors="surrogateescape")}
    assert KEYS.check(compact_entries.unpacked(damaged)) is not Proof.VALID


@given(st.binary(max_size=100))
def test_any_bytes(text):
    """Any bytes in place of an entry are unreadable, or are an entry; nothing else is raised."""
    found = {"kid": KID, compact_entries.ENTRY: text.decode(errors="surrogateescape")}
    fields = compact_entries.unpacked(found)
    if fields == found:
        with pytest.raises(Unreadable):
            encoding.decode_event(fields)


def test_size():
    """The entry of an issue takes less than 80 bytes besides its kid and its author."""
    detail = {"client_id": "client-0000000", "expires_at": NOW}
    event = AuditEvent(Action.ISSUE, "", "", NOW, detail=detail)
    assert len(compact_entries.pack(marked(event, base=0))) < 80


def test_other_rows_stay_as_they_are():
    """Rows about the trail, and entries of earlier versions, are returned unchanged."""
    for fields in ({"kid": "", "entry": "x", "action": "checkpoint"}, {"kid": KID, "action": "x"}):
        assert compact_entries.unpacked(fields) == fields


async def test_the_script_writes_compact_entries_once(valkey):
    """With the mark of the store each change has one compact entry, also if it is repeated."""
    async with administration(valkey.endpoint) as admin:
        await admin.store.apply(issued())
        compacted(valkey)
        change = await revoked(admin.store)
        for _ in range(2):
            assert await admin.store.apply(change) == 2
        rows = valkey.admin.xrange(stored.AUDIT)
        assert [entry.keys() == {"kid", "entry"} for _, entry in rows] == [False, True]
        async with valkey.endpoint.client() as client:
            entry = await StoredTrail(client).entry(KID, 2)
            assert (entry.event, entry.base_version) == (change.event, 1)
            [_, found] = await StoredRows(client).after("", 10)
            assert entry_of(found) == entry


async def test_a_deletion_removes_compact_entries(valkey):
    """The entries of a deleted key go, in both forms."""
    async with administration(valkey.endpoint) as admin, valkey.endpoint.client() as client:
        await admin.store.apply(issued())
        compacted(valkey)
        await admin.store.apply(await revoked(admin.store))
        record = await admin.store.find(KID)
        deletions = StoredDeletions(client)
        entries = await deletions.entries(record)
        assert [entry.id for entry in entries] == ["2-0", "1-0"]
        planned = deletion.delete(record, entries, author(), NOW, is_forced=True)
        await deletions.delete(planned)
        assert [entry_id for entry_id, _ in valkey.admin.xrange(stored.AUDIT)] == ["3-0"]


async def test_backup_and_restore(own_valkey):
    """A restored trail has the same rows, and keeps them compact."""
    async with administration(own_valkey.endpoint) as admin, own_valkey.endpoint.client() as client:
        await admin.store.apply(issued())
        compacted(own_valkey)
        await admin.store.apply(await revoked(admin.store))
        before = await StoredRows(client).after("", 10)
        file = io.BytesIO()
        writer = SealedWriter(file, RING.backup_keys[-1])
        await Backup(client, writer.write).run(RING.fingerprints, NOW)
        own_valkey.admin.flushall()
        lines = [list(read(io.BytesIO(file.getvalue()), RING.backup_keys)) for _ in range(2)]
        await Restore(client).run(verify(iter(lines[0]), RING.fingerprints), lines[1], 0)
        assert await StoredRows(client).after("", 10) == before
        assert {len(entry) for _, entry in own_valkey.admin.xrange(stored.AUDIT)} == {2}
