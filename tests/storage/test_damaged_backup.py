"""Backups of a damaged store: whatever can still be read is saved, and the rest is named."""

import io

import pytest

from authz.core.errors import Unavailable, Unreadable
from authz.core.finding import Level
from authz.storage.backup import Backup
from authz.storage.imports import StoredImports
from authz.storage.listing import StoredIndex, StoredTrail
from authz.storage.meta import Emptied, entries
from authz.storage.restore import Restore
from authz.storage.sealed_lines import SealedWriter, read
from authz.storage.verified_backup import verify
from tests.support.fakes import NOW, make_keyring
from tests.support.storage import stored
from tests.support.storage.changing import imported
from tests.support.storage.inspection import report

RING = make_keyring()


async def back_up(endpoint):
    """Return a backup as bytes, and the names that it could not read."""
    file = io.BytesIO()
    async with endpoint.client() as client:
        backup = Backup(client, SealedWriter(file, RING.backup_keys[-1]).write)
        identity = entries(RING.fingerprints, RING.prefixes, RING.public_prefix)
        await backup.run(RING.fingerprints, NOW, identity)
    return file.getvalue(), backup.damaged


async def restored(endpoint, content):
    """Restore a backup into the store, which is emptied before."""
    file = verify(read(io.BytesIO(content), RING.backup_keys), RING.fingerprints)
    async with endpoint.client() as client:
        await client.flushall()
        return await Restore(client).run(file, read(io.BytesIO(content), RING.backup_keys), 0)


def overwrite(valkey, name):
    """Write a value of another type in place of this one."""
    kind = valkey.admin.type(name)
    valkey.admin.delete(name)
    if kind == "list":
        valkey.admin.set(name, "x")
    else:
        valkey.admin.rpush(name, "x")


async def records_of(endpoint):
    """Return the record of each kid, or why it cannot be read."""
    async with endpoint.client() as client:
        index = StoredIndex(client)
        kids = [place.kid for place in await index.kids(None, None, 100)]
        return dict(zip(kids, await index.read(kids), strict=True))


@pytest.fixture
async def kids(own_valkey, own_admin):
    """Five issued keys, of which the first is revoked."""
    records = [await own_admin.issue() for _ in range(5)]
    await own_admin.revoke(records[0].kid)
    return [record.kid for record in records]


async def test_an_overwritten_record(own_valkey, kids):
    """The key of an overwritten record stays undecided after a restore; all others come back."""
    before = await records_of(own_valkey.endpoint)
    overwrite(own_valkey, stored.key(kids[2]))
    content, damaged = await back_up(own_valkey.endpoint)
    assert damaged == (stored.key(kids[2]),)
    await restored(own_valkey.endpoint, content)
    after = await records_of(own_valkey.endpoint)
    assert after.keys() == before.keys()
    assert isinstance(after.pop(kids[2]), Unreadable)
    assert after == {kid: record for kid, record in before.items() if kid != kids[2]}


@pytest.mark.parametrize("name", [stored.KEYS, stored.SEQ, stored.LOG])
async def test_what_follows_from_the_rest(own_valkey, own_admin, kids, name):
    """Index, number and log of changes come back from the rest, and the next change works."""
    before = await records_of(own_valkey.endpoint)
    overwrite(own_valkey, name)
    content, damaged = await back_up(own_valkey.endpoint)
    assert damaged == (name,)
    assert await restored(own_valkey.endpoint, content) == 7
    assert await records_of(own_valkey.endpoint) == before
    assert (await own_admin.revoke(kids[1])).version == 8
    async with own_valkey.endpoint.client() as client:
        assert (await StoredTrail(client).entry(kids[0], 6)).base_version == 1


@pytest.mark.parametrize("number", [None, "", "nonsense", "0"])
async def test_a_lost_number(own_valkey, kids, number):
    """A backup of a store without the number of its last change has the whole audit trail."""
    if number is None:
        own_valkey.admin.delete(stored.SEQ)
    else:
        own_valkey.admin.set(stored.SEQ, number)
    content, damaged = await back_up(own_valkey.endpoint)
    assert damaged == ((stored.SEQ,) if number == "nonsense" else ())
    assert await restored(own_valkey.endpoint, content) == 7
    assert own_valkey.admin.xlen(stored.AUDIT) == 6


@pytest.mark.parametrize("is_removed", [False, True])
async def test_a_lost_identity(own_valkey, own_admin, kids, is_removed):
    """A store that lost authz:meta and still has its keys comes back whole."""
    before = await records_of(own_valkey.endpoint)
    if is_removed:
        own_valkey.admin.delete(stored.META)
        identity = (await report(own_valkey.endpoint))["identity"]
        assert "lost authz:meta, and has its keys" in identity.found
        assert identity.advice.startswith("save them with `authz backup`, empty it (FLUSHDB)")
    else:
        overwrite(own_valkey, stored.META)
    content, damaged = await back_up(own_valkey.endpoint)
    assert damaged == (stored.META,)
    await restored(own_valkey.endpoint, content)
    assert await records_of(own_valkey.endpoint) == before
    assert (await own_admin.revoke(kids[1])).version == 8


async def test_no_backup_of_half_a_restore(own_valkey, kids):
    """A store without identity that a restore has not completed is not backed up, nor is an
    empty one.
    """
    own_valkey.admin.delete(stored.META, stored.SEQ)
    own_valkey.admin.set(stored.RESTORING, "a backup")
    with pytest.raises(Emptied):
        await back_up(own_valkey.endpoint)
    own_valkey.admin.flushall()
    with pytest.raises(Emptied):
        await back_up(own_valkey.endpoint)


async def test_an_overwritten_trail(own_valkey, own_admin, kids):
    """Without the audit trail the keys are saved; the name says that it is lost."""
    before = await records_of(own_valkey.endpoint)
    overwrite(own_valkey, stored.AUDIT)
    content, damaged = await back_up(own_valkey.endpoint)
    assert damaged == (stored.AUDIT,)
    await restored(own_valkey.endpoint, content)
    assert await records_of(own_valkey.endpoint) == before


async def test_an_overwritten_alias(own_valkey, own_admin):
    """The alias of an imported key follows from its record."""
    async with own_valkey.endpoint.client() as client:
        imports = StoredImports(client)
        await imports.allow_imports()
        change = imported()
        await imports.apply_all([change])
    [name] = own_valkey.admin.keys("*:alias:*")
    overwrite(own_valkey, name)
    content, damaged = await back_up(own_valkey.endpoint)
    assert damaged == (name,)
    await restored(own_valkey.endpoint, content)
    assert own_valkey.admin.get(name) == change.record.kid


@pytest.mark.parametrize("name", [stored.DEFAULT.gone(5), stored.DEFAULT.applied])
async def test_other_names(own_valkey, kids, name):
    """Tombstones and applied entries of another type are left out and named."""
    overwrite(own_valkey, name)
    content, damaged = await back_up(own_valkey.endpoint)
    assert damaged == (name,)
    await restored(own_valkey.endpoint, content)
    assert len(await records_of(own_valkey.endpoint)) == len(kids)


async def test_nothing_to_go_by(own_valkey, kids):
    """Without any list of keys there is no backup; the line says why."""
    overwrite(own_valkey, stored.KEYS)
    overwrite(own_valkey, stored.AUDIT)
    with pytest.raises(Unavailable, match="audit have another type"):
        await back_up(own_valkey.endpoint)


@pytest.mark.parametrize("name", [stored.KEYS, stored.AUDIT, stored.SEQ])
async def test_the_doctor_names_it(own_valkey, own_admin, kids, name):
    """The doctor fails for a shared value of another type, with its name."""
    assert (await report(own_valkey.endpoint))["types"].level is Level.OK
    overwrite(own_valkey, name)
    found = (await report(own_valkey.endpoint))["types"]
    assert found.level is Level.FAIL
    assert f"{name} is a list, not a " in found.found
