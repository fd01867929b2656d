"""Backup and restore: nothing is lost, changes during a backup included; bad files are refused."""

import asyncio
import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.errors import Conflict, Foreign, Unavailable
from authz.core.records import Status
from authz.storage import backup as module
from authz.storage.backup import Backup
from authz.storage.imports import StoredImports
from authz.storage.index_state import STATE_LENGTH
from authz.storage.keys import StoredKeys
from authz.storage.listing import StoredIndex, StoredTrail
from authz.storage.restore import Restore
from authz.storage.sealed_lines import FileRefused, SealedWriter, read
from authz.storage.verified_backup import verify
from tests.support.fakes import NOW, make_keyring
from tests.support.real import eventually
from tests.support.storage import stored
from tests.support.storage.changing import NEWEST, everything, imported, moved
from tests.support.storage.sidecar import Registered

RING = make_keyring()
GONE = stored.DEFAULT.gone(5)
KEYS = RING.backup_keys


async def back_up(endpoint, ring=RING):
    """Return a backup as bytes."""
    file = io.BytesIO()
    async with endpoint.client() as client:
        await Backup(client, SealedWriter(file, ring.backup_keys[-1]).write).run(
            ring.fingerprints, NOW
        )
    return file.getvalue()


async def restored(endpoint, content, highest=0, ring=RING):
    """Restore a backup and return the new sequence."""
    file = verify(read(io.BytesIO(content), ring.backup_keys), ring.fingerprints)
    async with endpoint.client() as client:
        lines = read(io.BytesIO(content), ring.backup_keys)
        return await Restore(client).run(file, lines, highest)


async def filled(admin, endpoint):
    """Make keys of every kind and return their kids."""
    records = [await admin.issue(name="Zürich", scopes=frozenset({"a:b"})) for _ in range(5)]
    flow, author = admin.lifecycle, admin.lifecycle.author
    await admin.revoke(records[0].kid)
    await admin.disable(records[1].kid)
    await flow.rotate(records[2].kid, 60_000, author("ops", "a note"))
    await admin.store.apply(moved(records[3]))
    async with endpoint.client() as client:
        imports = StoredImports(client)
        await imports.allow_imports()
        await imports.apply_all([imported()])
    return [record.kid for record in records]


def keys_of(valkey):
    """Return all data but the sequence, the log and the marker of a restore.

    The index of imported digests is without its state, which has the sequence.
    """
    admin = valkey.admin
    readers = {
        "hash": admin.hgetall,
        "string": lambda name: admin.get(name)[STATE_LENGTH if name == stored.IMPORTED else 0 :],
        "stream": admin.xrange,
        "zset": lambda name: admin.zrange(name, 0, -1, withscores=True),
    }
    left_out = {stored.SEQ, stored.LOG, stored.RESTORING}
    names = sorted(set(admin.keys("authz:*")) - left_out)
    return {name: readers[admin.type(name)](name) for name in names}


async def test_round_trip(own_valkey, own_admin):
    """Records, indexes, aliases, audit trail and authz:meta are as before; the sequence grows."""
    await filled(own_admin, own_valkey.endpoint)
    before, seq = keys_of(own_valkey), int(own_valkey.admin.get(stored.SEQ))
    content = await back_up(own_valkey.endpoint)
    own_valkey.admin.flushall()
    assert await restored(own_valkey.endpoint, content) == seq + 1
    assert own_valkey.admin.get(stored.SEQ) == str(seq + 1)
    assert keys_of(own_valkey) == before


class Held(Restore):
    """A restore that waits after it has read how far the audit trail is."""

    def __init__(self, client):
        super().__init__(client)
        self.has_read, self.may_go_on = asyncio.Event(), asyncio.Event()

    async def _audited(self):
        done = await super()._audited()
        self.has_read.set()
        await self.may_go_on.wait()
        return done


async def test_two_restores_of_one_file(own_valkey, own_admin):
    """Of two restores of one file at once, one ends with the reason, and the other completes."""
    await filled(own_admin, own_valkey.endpoint)
    before, content = keys_of(own_valkey), await back_up(own_valkey.endpoint)
    own_valkey.admin.flushall()
    file = verify(read(io.BytesIO(content), KEYS), RING.fingerprints)
    async with own_valkey.endpoint.client() as one, own_valkey.endpoint.client() as other:
        late = Held(one)
        ended = asyncio.create_task(late.run(file, read(io.BytesIO(content), KEYS), 0))
        await late.has_read.wait()

        def lines():
            yield from read(io.BytesIO(content), KEYS)
            late.may_go_on.set()

        first = asyncio.create_task(Restore(other).run(file, lines(), 0))
        outcomes = await asyncio.gather(ended, first, return_exceptions=True)
    refused = [str(found) for found in outcomes if isinstance(found, Conflict)]
    assert len(refused) == 1
    assert "another process" in refused[0]
    assert keys_of(own_valkey) == before


async def test_changes_go_on(own_valkey, own_admin):
    """After a restore the next change gets a number above all that were seen."""
    record = await own_admin.issue()
    content = await back_up(own_valkey.endpoint)
    own_valkey.admin.flushall()
    assert await restored(own_valkey.endpoint, content, highest=415) == 416
    assert (await own_admin.revoke(record.kid)).version == 417
    async with own_valkey.endpoint.client() as client:
        entry = await StoredTrail(client).entry(record.kid, 417)
        assert entry.base_version == record.version


async def test_changes_during_a_backup(own_valkey, own_admin, monkeypatch):
    """Changes while the records are read are in the file, or none of them is."""
    monkeypatch.setattr(module, "PAGE", 2)
    records = [await own_admin.issue() for _ in range(20)]
    backup_running = asyncio.create_task(back_up(own_valkey.endpoint))
    for record in records:
        await own_admin.revoke(record.kid)
        await own_admin.issue()
    content = await backup_running
    end = json.loads(content.splitlines()[-1].rpartition(b"\t")[0])["end"]
    trail = own_valkey.admin.xrange(stored.AUDIT, max=f"{end['seq']}-9")
    wanted = {entry["kid"]: int(entry_id.partition("-")[0]) for entry_id, entry in trail}
    own_valkey.admin.flushall()
    await restored(own_valkey.endpoint, content)
    async with own_valkey.endpoint.client() as client:
        kids = await StoredIndex(client).kids(None, None, 10_000)
        found = await StoredIndex(client).read([place.kid for place in kids])
    assert {record.kid: record.version for record in found} == wanted


async def test_a_move_during_a_backup(own_valkey, own_admin, monkeypatch):
    """A key that gets another client after it was read is in the new client's index alone."""
    record = await own_admin.issue()
    original = Backup._catch_up

    async def late(self):
        await own_admin.store.apply(moved(record))
        await original(self)

    monkeypatch.setattr(Backup, "_catch_up", late)
    content = await back_up(own_valkey.endpoint)
    own_valkey.admin.flushall()
    await restored(own_valkey.endpoint, content)
    assert own_valkey.admin.zrange(stored.client("acme-web"), 0, -1) == []
    assert own_valkey.admin.zrange(stored.client("acme-batch"), 0, -1) == [record.kid]


async def test_more_changes_than_the_log_holds(own_valkey, own_admin, monkeypatch):
    """A backup that cannot be consistent fails."""
    record = await own_admin.issue()
    original = Backup._catch_up

    async def late(self):
        await own_admin.disable(record.kid)
        own_valkey.admin.xtrim(stored.LOG, maxlen=0, approximate=False)
        await original(self)

    monkeypatch.setattr(Backup, "_catch_up", late)
    with pytest.raises(Unavailable, match="more was changed"):
        await back_up(own_valkey.endpoint)


async def test_a_store_with_keys(own_valkey, own_admin):
    """A restore into a store with keys, or one that was only initialised, is refused."""
    content = await back_up(own_valkey.endpoint)
    before = everything(own_valkey)
    with pytest.raises(Conflict, match="not empty: it has the authz:meta of an installation"):
        await restored(own_valkey.endpoint, content)
    await own_admin.issue()
    own_valkey.admin.delete(stored.META)
    with pytest.raises(Conflict, match="not empty"):
        await restored(own_valkey.endpoint, content)
    assert before.keys() <= everything(own_valkey).keys() | {stored.META}


async def test_an_interrupted_restore(own_valkey, own_admin, monkeypatch):
    """An interrupted restore leaves an untrusted store and continues with the same file."""
    await filled(own_admin, own_valkey.endpoint)
    before = keys_of(own_valkey)
    content = await back_up(own_valkey.endpoint)
    own_valkey.admin.flushall()
    original, done = Restore._write, []

    async def fails(self, writes, file, item, audited):
        if len(done) == 2:
            raise Unavailable("interrupted")
        done.append(item)
        await original(self, writes, file, item, audited)

    with monkeypatch.context() as patched:
        patched.setattr(Restore, "_write", fails)
        with pytest.raises(Unavailable, match="interrupted"):
            await restored(own_valkey.endpoint, content)
    assert not own_valkey.admin.exists(stored.META)
    await restored(own_valkey.endpoint, content)
    assert keys_of(own_valkey) == before


DAMAGES = [
    {"schema": None},
    {"schema": "x"},
    {"created_at": None},
    {"created_at": "x"},
    {"created_at": "-1"},
    {"created_at": "9" * 30},
    {"client_id": None},
    {"client_id": b"\xff\n"},
    {"secrets": "x"},
    {"secrets": "[" * 100_000},
    {"version": None},
    {b"\xff": b"\xfe"},
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: str(damage)[:40])
async def test_a_damaged_record(own_valkey, own_admin, damage):
    """A record that cannot be read is restored as it is. It stops no other record."""
    damaged, good = (await own_admin.issue()).kid, (await own_admin.issue()).kid
    for name, value in damage.items():
        if value is None:
            own_valkey.admin.hdel(stored.key(damaged), name)
        else:
            own_valkey.admin.hset(stored.key(damaged), name, value)
    async with own_valkey.endpoint.client() as client:
        before = [await client.hgetall(stored.key(kid)) for kid in (damaged, good)]
        content = await back_up(own_valkey.endpoint)
        own_valkey.admin.flushall()
        await restored(own_valkey.endpoint, content)
        assert [await client.hgetall(stored.key(kid)) for kid in (damaged, good)] == before
    assert set(own_valkey.admin.zrange(stored.KEYS, 0, -1)) == {damaged, good}


@pytest.mark.parametrize("kind", ["hash", "string"])
async def test_a_rest_of_a_record(own_valkey, own_admin, kind):
    """A record that is left in a store without indexes is replaced as a whole."""
    name = stored.key((await own_admin.issue()).kid)
    before = own_valkey.admin.hgetall(name)
    content = await back_up(own_valkey.endpoint)
    own_valkey.admin.flushall()
    if kind == "hash":
        own_valkey.admin.hset(name, "strange", "1")
    else:
        own_valkey.admin.set(name, "x")
    await restored(own_valkey.endpoint, content)
    assert own_valkey.admin.hgetall(name) == before


@pytest.mark.parametrize("member", ["x", "", "1.5", "9" * 60, b"\xff"])
async def test_a_member_that_is_no_tombstone(own_valkey, own_admin, member):
    """Such a member stops neither a backup nor a restore, and is not restored."""
    record = await own_admin.issue()
    own_valkey.admin.sadd(GONE, member)
    content = await back_up(own_valkey.endpoint)
    own_valkey.admin.flushall()
    own_valkey.admin.sadd(GONE, member)
    await restored(own_valkey.endpoint, content)
    assert own_valkey.admin.hget(stored.key(record.kid), "status") == "active"
    assert own_valkey.admin.scard(GONE) == 1


async def late_revocation(endpoint, admin, monkeypatch):
    """Return a backup in which the one key appears active and then revoked, and its kid."""
    record = await admin.issue()
    original = Backup._catch_up

    async def late(self):
        if (await admin.store.find(record.kid)).status is Status.ACTIVE:
            await admin.revoke(record.kid)
        await original(self)

    monkeypatch.setattr(Backup, "_catch_up", late)
    return await back_up(endpoint), record.kid


async def interrupted(endpoint, content, monkeypatch, lines):
    """Begin a restore that ends after this number of lines."""
    original, done = Restore._write, []

    async def fails(self, writes, file, item, audited):
        if len(done) == lines:
            raise Unavailable("interrupted")
        done.append(item)
        await original(self, writes, file, item, audited)

    with monkeypatch.context() as patched:
        patched.setattr(Restore, "_write", fails)
        with pytest.raises(Unavailable, match="interrupted"):
            await restored(endpoint, content)


async def test_a_key_revoked_during_the_backup_is_never_active(own_valkey, own_admin, monkeypatch):
    """Only the last version of a record is written, at whatever line a restore is interrupted."""
    content, kid = await late_revocation(own_valkey.endpoint, own_admin, monkeypatch)
    seen = []
    for lines in range(content.count(b"\n")):
        own_valkey.admin.flushall()
        await interrupted(own_valkey.endpoint, content, monkeypatch, lines)
        seen.append(own_valkey.admin.hget(stored.key(kid), "status"))
    assert set(seen) == {None, "revoked"}
    await restored(own_valkey.endpoint, content)
    assert own_valkey.admin.hget(stored.key(kid), "status") == "revoked"


@pytest.mark.parametrize("lines", [0, 2])
async def test_nobody_else_completes_an_interrupted_restore(
    own_valkey, own_admin, monkeypatch, lines
):
    """An interrupted restore is refused to `init` and to another file, and nothing is written."""
    await own_admin.issue()
    other = await back_up(own_valkey.endpoint)
    content, _ = await late_revocation(own_valkey.endpoint, own_admin, monkeypatch)
    own_valkey.admin.flushall()
    await interrupted(own_valkey.endpoint, content, monkeypatch, lines)
    before = everything(own_valkey)
    async with own_valkey.endpoint.client() as client:
        with pytest.raises(Conflict, match=r"restore was interrupted .* again with the same file"):
            await StoredKeys(client).initialise(RING.fingerprints, RING.prefixes)
    with pytest.raises(Conflict, match="restore was interrupted"):
        await restored(own_valkey.endpoint, other)
    assert everything(own_valkey) == before
    assert await restored(own_valkey.endpoint, content) > 0


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        *((one, f"it has {one}; empty it") for one in (stored.SEQ, stored.LOG, stored.AUDIT)),
        (stored.KEYS, f"it lost {stored.META}, and has its keys"),
    ],
)
async def test_init_with_data_but_no_meta(own_valkey, own_admin, name, problem):
    """A store that has anything but no authz:meta is not initialised."""
    await own_admin.issue()
    for other in set(own_valkey.admin.keys("*")) - {name}:
        own_valkey.admin.delete(other)
    async with own_valkey.endpoint.client() as client:
        with pytest.raises(Conflict, match=re.escape(f"not empty: {problem}")):
            await StoredKeys(client).initialise(RING.fingerprints)
    assert not own_valkey.admin.exists(stored.META)


async def test_a_store_emptied_during_a_restore(own_valkey, own_admin, monkeypatch):
    """A restore whose store was emptied or completed by another ends without authz:meta."""
    await own_admin.issue()
    content = await back_up(own_valkey.endpoint)
    own_valkey.admin.flushall()
    original = Restore._write

    async def emptied(self, writes, file, item, audited):
        await original(self, writes, file, item, audited)
        own_valkey.admin.flushall()

    monkeypatch.setattr(Restore, "_write", emptied)
    with pytest.raises(Conflict, match="emptied, or restored by another"):
        await restored(own_valkey.endpoint, content)
    assert own_valkey.admin.keys("*") == []


async def test_a_running_sidecar(own_valkey, own_admin):
    """A sidecar that saw later changes than the backup flushes, and its number names the loss."""
    record, other = await own_admin.issue(), await own_admin.issue()
    content = await back_up(own_valkey.endpoint)
    async with (
        Registered(own_valkey.endpoint) as sidecar,
        own_valkey.endpoint.client() as client,
    ):
        await sidecar.trusted()
        await sidecar.find(record.kid)
        await own_admin.revoke(other.kid)
        await sidecar.caught_up(3)
        own_valkey.admin.flushall()
        await eventually(lambda: "data is gone: it was at change 3;" in sidecar.reason)
        store = StoredKeys(client)

        async def seen():
            return await store.highest_seen() == 3

        await eventually(seen)
        with pytest.raises(Unavailable, match="data is gone: it was at change 3;"):
            await store.verify(RING.fingerprints)
        assert await restored(own_valkey.endpoint, content, await store.highest_seen()) == 4
        await sidecar.caught_up(4)
        await sidecar.trusted()
        assert await sidecar.find(record.kid) == record
        assert (await sidecar.find(other.kid)).status is Status.REVOKED  # it remembers
        assert (await own_admin.store.find(other.kid)).status is Status.ACTIVE


@pytest.fixture(scope="module")
def content():
    """A small backup file."""
    file = io.BytesIO()
    writer = SealedWriter(file, KEYS[-1])
    for item in small_backup():
        writer.write(item)
    return file.getvalue()


def small_backup():
    """Return the lines of a backup."""
    meta = {"schema": "1", **{f"pepper:{v}": f for v, f in RING.fingerprints.items()}}
    fields = {"schema": "1", "created_at": "1", "client_id": "acme-web", "secrets": "[]"}
    return [
        {"format": 1, "schema": 1, "created_at": NOW, "meta": meta},
        {"records": [["A" * 16, fields]]},
        {"aliases": [[NEWEST.hex(), "A" * 16]]},
        {"audit": [["1-0", {"kid": "A" * 16}]]},
        {"end": {"seq": 1, "records": 1, "aliases": 1, "audit": 1}},
    ]


def check(content, ring=RING):
    """Verify a file."""
    return verify(read(io.BytesIO(content), ring.backup_keys), ring.fingerprints)


def test_a_good_file(content):
    """An intact file is verified."""
    found = check(content)
    assert (found.contents.seq, found.contents.records, found.created_at) == (1, 1, NOW)


@given(data=st.data())
def test_an_altered_file(content, data):
    """A change of any byte is refused, with its line or the next one."""
    at = data.draw(st.integers(0, len(content) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda found: found != content[at]))
    line = content[:at].count(b"\n") + 1
    with pytest.raises(FileRefused) as refused:
        check(content[:at] + bytes([value]) + content[at + 1 :])
    number = int(str(refused.value).split(":")[0].removeprefix("line "))
    assert number in {line, line + 1}


@given(data=st.data())
def test_a_truncated_file(content, data):
    """A truncated file is refused."""
    length = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(FileRefused, match=r"^line \d"):
        check(content[:length])


def test_lines_of_another_file(content):
    """Lines that are left out, repeated or appended are refused by line."""
    lines = content.splitlines(keepends=True)
    for altered, number in (
        (lines[:1] + lines[2:], 2),
        (lines[:2] + lines[1:], 3),
        (lines + lines[-1:], 6),
    ):
        with pytest.raises(FileRefused, match=f"^line {number}: "):
            check(b"".join(altered))


def sealed(items):
    """Return a file of these lines."""
    file = io.BytesIO()
    writer = SealedWriter(file, KEYS[-1])
    for item in items:
        writer.write(item)
    return file.getvalue()


@pytest.mark.parametrize(
    ("number", "changed", "problem"),
    [
        (1, {"schema": 2}, "schema 2; this version reads 1"),
        (1, {"format": 2}, "format 2"),
        (2, {"records": [["A" * 16, {"schema": "2"}]]}, "newer schema"),
        (2, {"records": [["A" * 16, {}]]}, "no fields"),
        (2, {"budgets": []}, "'budgets'"),
        (3, {"aliases": [["xyz", "A" * 16]]}, "hexadecimal"),
        (5, {"end": {"seq": 1, "records": 2, "aliases": 1, "audit": 1}}, "not hold as much"),
    ],
)
def test_a_file_of_another_version(number, changed, problem):
    """A sealed file with content that this version cannot restore is refused by line."""
    items = small_backup()
    items[number - 1] = items[number - 1] | changed
    with pytest.raises(FileRefused, match=f"^line {number}: .*{problem}"):
        check(sealed(items))


def test_another_pepper(content):
    """A file that was sealed with another pepper is refused at its first line."""
    with pytest.raises(FileRefused, match=r"^line 1: .*another pepper"):
        check(content, make_keyring("ak", "2"))


def test_an_older_pepper_of_ours(content):
    """A file that was sealed with an older pepper of ours is accepted."""
    assert check(content, make_keyring("ak", "1", "2")).contents.seq == 1


def test_peppers_that_do_not_fit():
    """A file whose authz:meta has other peppers is refused."""
    items = small_backup()
    items[0]["meta"]["pepper:1"] = "other"
    with pytest.raises(Foreign):
        check(sealed(items))


@pytest.mark.parametrize("is_ours", [True, False])
def test_a_newer_schema_needs_a_good_seal(is_ours):
    """A record of a newer version is refused. A schema that somebody else wrote is damage."""
    items, kid = small_backup(), "A" * 16
    fields = items[1]["records"][0][1] | {"version": "1", "schema": "99" if is_ours else "1"}
    fields = fields | {"seal": RING.record_seals.seal(kid, fields), "schema": "99"}
    items[1]["records"] = [[kid, fields]]
    lines = read(io.BytesIO(sealed(items)), KEYS)
    if is_ours:
        with pytest.raises(FileRefused, match=r"^line 2: .*newer schema"):
            verify(lines, RING.fingerprints, RING.record_seals)
    else:
        assert verify(lines, RING.fingerprints, RING.record_seals).bad_seals == (kid,)
