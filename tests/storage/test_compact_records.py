"""Compact records in a store: written by changes, read by sidecars and commands."""

import asyncio
import io

import pytest

from authz.core import deletion
from authz.core.errors import BadSeal, Conflict, Unavailable, Unreadable
from authz.core.records import KeyRecord, Status
from authz.storage import compact, encoding, schema
from authz.storage.backup import Backup
from authz.storage.deletions import StoredDeletions
from authz.storage.field_codec import as_bytes
from authz.storage.imports import StoredImports
from authz.storage.index_members import short_member
from authz.storage.indexing import Indexing
from authz.storage.keys import StoredKeys
from authz.storage.listing import StoredIndex, StoredTrail
from authz.storage.restore import Restore
from authz.storage.sealed_lines import SealedWriter, read
from authz.storage.verified_backup import verify
from tests.support.changes import author
from tests.support.fakes import KID, NOW, make_keyring
from tests.support.storage import stored
from tests.support.storage.changing import NEWEST, imported, issued, moved, revoked
from tests.support.storage.sealing import fields_of, load, sealed
from tests.support.storage.sidecar import Sidecar, administration

RING = make_keyring()
MARKS = [schema.SOME_COMPACT, schema.ALL_COMPACT]


def mark(valkey, text=schema.SOME_COMPACT):
    """Set the mark of a store with compact records, or remove it."""
    if text:
        valkey.admin.hset(stored.META, schema.META_COMPACT, text)
    else:
        valkey.admin.hdel(stored.META, schema.META_COMPACT)


def raw(valkey, kid):
    """Return the bytes of a compact record."""
    return as_bytes(valkey.admin.get(stored.key(kid)))


async def rename(admin, record):
    """Change the name of a key and return its record."""
    flow = admin.lifecycle
    done = await flow.update(record.kid, {"name": f"{record.name}!"}, flow.author("ops"))
    return done.record


def last_entry(valkey):
    """Return the newest entry of the log."""
    return valkey.admin.xrevrange(stored.LOG, count=1)[0][1]


async def test_the_script_and_python_agree_on_the_layout(valkey):
    """A record that the script has written is, byte by byte, the one that Python would write."""
    async with administration(sealed(valkey.endpoint)) as admin:
        mark(valkey)
        record = await admin.issue(name="Zürich", scopes=frozenset({"a:b"}))
        for number in range(3):
            record = await admin.disable(record.kid) if number == 1 else await rename(admin, record)
            text = raw(valkey, record.kid)
            found = compact.unpack(record.kid, text)
            assert compact.pack(found) == text
            assert found["version"] == valkey.admin.get(stored.SEQ)
            assert found["change_id"] == last_entry(valkey)["change_id"]
            assert {**encoding.encode(record), **found} == found
            assert RING.record_seals.check(record.kid, found).name == "VALID"
            assert await admin.store.find(record.kid) == await load_as_admin(admin, record)


async def load_as_admin(admin, record):
    """Return the record as the index reads it."""
    (found,) = await StoredIndex(admin.store._client).read([record.kid])
    return found


async def test_a_record_without_a_seal(valkey, admin):
    """A client without seals writes compact records without one."""
    mark(valkey)
    record = await admin.issue()
    assert "seal" not in compact.unpack(record.kid, raw(valkey, record.kid))
    assert await admin.store.find(record.kid) == record


async def test_a_change_rewrites_a_record_of_an_earlier_version(valkey, admin):
    """A hash becomes compact when its key is changed; a repetition is recognised in both forms."""
    await admin.store.apply(issued())
    change = await revoked(admin.store)
    mark(valkey)
    assert await admin.store.apply(issued()) == 1
    assert valkey.admin.type(stored.key(KID)) == "hash"
    assert await admin.store.apply(change) == 2
    assert valkey.admin.type(stored.key(KID)) == "string"
    assert await admin.store.apply(change) == 2
    assert (await admin.store.find(KID)).status is Status.REVOKED


async def test_a_writer_that_has_not_seen_the_mark(valkey, admin):
    """A compact record stays compact, also if the writer would write a hash. So does a batch."""
    mark(valkey)
    await admin.store.apply(issued())
    change = await revoked(admin.store)
    mark(valkey, "")
    async with valkey.endpoint.client() as client:
        assert await StoredImports(client).apply_all([change]) == [2]
    assert valkey.admin.type(stored.key(KID)) == "string"
    assert await admin.store.apply(change) == 2


@pytest.mark.parametrize(("before", "after"), [(schema.ALL_COMPACT, ""), ("", schema.SOME_COMPACT)])
async def test_a_long_import_follows_the_mark(valkey, before, after):
    """Batches that follow each other at once write the form that the mark says by then."""
    kids = ["0000000000000001", "0000000000000002", "0000000000000003"]
    mark(valkey, before)
    async with valkey.endpoint.client() as client:
        imports = StoredImports(client)
        await imports.apply_all([issued("c-1", kids[0])])
        mark(valkey, after)
        await imports.apply_all([issued("c-2", kids[1])])  # it learns of the mark
        await imports.apply_all([issued("c-3", kids[2])])
    assert valkey.admin.type(stored.key(kids[2])) == ("string" if after else "hash")


async def test_a_change_on_an_old_state_is_refused(valkey, admin):
    """A change of a compact record needs its version, as one of a hash does."""
    mark(valkey)
    await admin.store.apply(issued())
    change = await revoked(admin.store)
    await admin.disable(KID)
    with pytest.raises(Conflict, match="at version 2, not 1"):
        await admin.store.apply(change)
    with pytest.raises(Conflict):
        await admin.store.apply(issued("c-other"))


@pytest.mark.parametrize("text", [b"", b"text", bytes([1]) * 40, bytes([2]) + bytes(60)])
async def test_a_damaged_record_is_not_overwritten(valkey, admin, text):
    """A change of a damaged record, or of one of a newer version, is refused. It is unreadable."""
    mark(valkey)
    await admin.store.apply(issued())
    change = await revoked(admin.store)
    valkey.admin.set(stored.key(KID), text)
    with pytest.raises(Unavailable, match="damaged, or of a newer version"):
        await admin.store.apply(change)
    with pytest.raises(Unreadable, match=KID):
        await admin.store.find(KID)
    async with Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        assert isinstance(await load(sidecar, KID), Unreadable)


async def test_a_deleted_key(valkey, admin):
    """A key with a compact record is deleted as any other, and only at its version."""
    mark(valkey)
    await admin.store.apply(issued())
    async with valkey.endpoint.client() as client:
        deletions = StoredDeletions(client)
        early = await planned(admin, deletions)
        await admin.disable(KID)
        with pytest.raises(Conflict, match="at version 2, not 1"):
            await deletions.delete(early)
        late = await planned(admin, deletions)
        assert await deletions.delete(late) == 3
        assert await deletions.delete(late) == 3
    assert not valkey.admin.exists(stored.key(KID))


async def planned(admin, deletions):
    """Return a deletion of the key as it is now."""
    record = await admin.store.find(KID)
    entries = await deletions.entries(record)
    return deletion.delete(record, entries, author(), NOW, is_forced=True)


@pytest.mark.parametrize("text", ["", *MARKS, "9"])
async def test_a_sidecar_reads_both_forms(valkey, text):
    """With any mark a sidecar reads records of both forms, and knows a missing key."""
    async with administration(sealed(valkey.endpoint)) as admin:
        old = await admin.issue()
        mark(valkey)
        new = await admin.issue()
        mark(valkey, text)
        async with Sidecar(sealed(valkey.endpoint)) as sidecar:
            await sidecar.trusted()
            assert await load(sidecar, old.kid) == old
            assert await load(sidecar, new.kid) == new
            assert await load(sidecar, "z" * 16) is None
            stored.alter(valkey.admin, new.kid, client_id="mallory")
            assert isinstance(await load(sidecar, new.kid), BadSeal)


@pytest.mark.parametrize(
    ("text", "commands"), [("1", ["GET", "HGETALL"]), ("2", ["GET"]), ("", ["HGETALL", "GET"])]
)
async def test_a_sidecar_asks_once(valkey, text, commands):
    """A record takes one round trip: while forms are mixed, both questions leave at once."""
    async with administration(valkey.endpoint) as admin:
        mark(valkey)
        record = await admin.issue()
        mark(valkey, text)
        async with Sidecar(valkey.endpoint) as sidecar:
            await sidecar.trusted()
            with valkey.admin.monitor() as watch:
                assert await load(sidecar, record.kid) == record
                valkey.admin.echo("end")
                seen = iter(lambda: watch.next_command()["command"], "ECHO end")
                name = stored.key(record.kid)
                assert [one.split()[0] for one in seen if name in one] == commands


async def test_changes_reach_a_sidecar(valkey):
    """A sidecar applies changes of compact records: a cached key is refused after its notice."""
    async with (
        administration(sealed(valkey.endpoint)) as admin,
        Sidecar(sealed(valkey.endpoint)) as sidecar,
    ):
        mark(valkey)
        await sidecar.trusted()
        record = await admin.issue()
        assert await sidecar.find(record.kid) == record
        await admin.revoke(record.kid)
        async with asyncio.timeout(5):
            while (await sidecar.find(record.kid)).status is not Status.REVOKED:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("may_run", [True, False])
async def test_lists(valkey, admin, may_run):
    """Records and texts of both forms are read alike, by a script and by commands."""
    kids = [(await admin.issue(name="old")).kid for _ in range(8)]
    mark(valkey)
    kids += [(await admin.issue(name="new")).kid for _ in range(8)]
    valkey.admin.set(stored.key(kids[0]), "text")
    valkey.admin.delete(stored.key(kids[1]), stored.key(kids[2]))
    valkey.admin.rpush(stored.key(kids[2]), "text")
    rules = ["reset", "on", ">pw", "~authz:*", "+@all", *([] if may_run else ["-evalsha_ro"])]
    valkey.admin.execute_command("ACL", "SETUSER", "reader", *rules)
    async with valkey.login("reader", "pw").client() as client:
        index = StoredIndex(client)
        found = await index.read(kids)
        assert [type(one) for one in found[:3]] == [Unreadable, type(None), Unreadable]
        assert all(isinstance(one, KeyRecord) for one in found[3:])
        assert await index.read(kids[3:12]) == found[3:12]
        names = [list(row) for row in await index.texts(kids, ["name", "env"])]
        assert names == [[None, None]] * 3 + [["old", "live"]] * 5 + [["new", "live"]] * 8
        assert (await StoredTrail(client).entry(kids[-1], found[-1].version)).version


async def test_imported_keys(valkey, admin):
    """The index of imported digests is made from compact records, too."""
    async with valkey.endpoint.client() as client:
        imports = StoredImports(client)
        await imports.allow_imports()
        mark(valkey)
        assert await imports.apply_all([imported()]) == [1]
        valkey.admin.delete(stored.IMPORTED)
        assert await Indexing(client).run() == 1
    assert valkey.admin.get(stored.IMPORTED).endswith(NEWEST[:6].hex())


@pytest.mark.parametrize("bytes_of_damaged", [b"\x01" * 99, b"\x02" * 99, b""])
@pytest.mark.parametrize("text", ["", *MARKS])
async def test_backup_and_restore(own_valkey, text, bytes_of_damaged):
    """A backup has both forms alike. A restore writes the form that the file's mark names.

    A damaged record keeps its bytes, and so does one that only a newer version reads.
    """
    endpoint = sealed(own_valkey.endpoint)
    async with administration(endpoint) as admin:
        old = await admin.issue(name="old")
        mark(own_valkey)
        records = [old, await admin.issue(name="new"), await admin.issue()]
        await admin.store.apply(moved(records[1]))
        damaged = await admin.issue()
        own_valkey.admin.set(stored.key(damaged.kid), bytes_of_damaged)
        mark(own_valkey, text)
        before = {one.kid: fields_of(own_valkey, one.kid) for one in records}
        file = io.BytesIO()
        async with endpoint.client() as client:
            await Backup(client, SealedWriter(file, RING.backup_keys[-1]).write).run(
                RING.fingerprints, NOW
            )
            own_valkey.admin.flushall()
            lines = [list(read(io.BytesIO(file.getvalue()), RING.backup_keys)) for _ in range(2)]
            await Restore(client).run(verify(iter(lines[0]), RING.fingerprints), lines[1], 0)
            keys = StoredKeys(client)
            await keys.verify(RING.fingerprints)
            for kid, fields in before.items():
                assert fields_of(own_valkey, kid) == fields
                assert own_valkey.admin.type(stored.key(kid)) == ("string" if text else "hash")
                assert (await keys.find(kid)).kid == kid
            with pytest.raises(Unreadable):
                await keys.find(damaged.kid)
            assert raw(own_valkey, damaged.kid) == bytes_of_damaged
            # A hash stands in the indexes by its kid, a compact record by its short member.
            form = short_member if text else str
            members = [*map(form, before), short_member(damaged.kid)]
            assert set(own_valkey.admin.zrange(stored.KEYS, 0, -1)) == set(members)
            of_client = own_valkey.admin.zrange(stored.client("acme-batch"), 0, -1)
            assert of_client == [form(records[1].kid)]
            listed = [place.kid for place in await StoredIndex(client).kids(None, None, 9)]
            assert set(listed) == {*before, damaged.kid}
