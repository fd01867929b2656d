"""The DeletionStore port: one suite for a twin in memory, the store, and several partitions."""

from dataclasses import replace

import pytest

from authz.core import deletion
from authz.core.errors import Conflict, Deleted
from authz.core.records import RevocationReason, Status
from authz.storage.batches import StoredBatches
from authz.storage.deletions import StoredDeletions
from authz.storage.imports import StoredImports
from authz.storage.keys import StoredKeys
from tests.support.changes import DIGESTS, author, change_to, imported, issued
from tests.support.fakes import KID, NOW, MemoryKeyStore
from tests.support.storage.partitioned import beside, lead_home, parts_of

OTHER_KID = beside(KID, "0" * 16)


@pytest.fixture(params=["memory", "valkey", "partitions"])
async def stores(request):
    """A KeyStore, a DeletionStore and an ImportStore of the same keys, of each kind."""
    if request.param == "memory":
        store = MemoryKeyStore()
        yield store, store, store
        return
    if request.param == "partitions":
        async with parts_of(request.getfixturevalue("valkey")) as parts:
            await lead_home(parts, [KID, OTHER_KID])
            yield parts.keys, parts.deletions, parts.imports
        return
    async with request.getfixturevalue("valkey").endpoint.client() as client:
        yield StoredKeys(client), StoredDeletions(client), StoredImports(client)


@pytest.fixture
def pair(stores):
    """The KeyStore and the DeletionStore."""
    return stores[:2]


async def revoked(store, change=None):
    """Issue and revoke a key. Return its record."""
    await store.apply(change or issued())
    record = await store.find(KID)
    ended = replace(
        record,
        status=Status.REVOKED,
        revoked_at=NOW,
        revocation_reason=RevocationReason.SUPERSEDED,
    )
    await store.apply(change_to(ended, record.version))
    return await store.find(KID)


async def removal(deletions, record):
    """Plan the deletion of a key."""
    return deletion.delete(record, await deletions.entries(record), author(), NOW)


async def test_a_deleted_key_is_gone(pair):
    """The record is gone, and the change has the next number."""
    store, deletions = pair
    record = await revoked(store)
    planned = await removal(deletions, record)
    assert len(planned.entries) == 2
    assert await deletions.delete(planned) == 3
    assert await store.find(KID) is None


async def test_a_repeated_deletion_changes_nothing(pair):
    """The same deletion again does nothing."""
    store, deletions = pair
    planned = await removal(deletions, await revoked(store))
    assert await deletions.delete(planned) == await deletions.delete(planned) == 3


async def test_a_key_that_was_changed_is_not_deleted(pair):
    """A deletion of an older version is refused, and so is one of a key that never was."""
    store, deletions = pair
    record = await revoked(store)
    with pytest.raises(Conflict):
        await deletions.delete(await removal(deletions, replace(record, version=1)))
    with pytest.raises(Conflict):
        await deletions.delete(await removal(deletions, replace(record, kid=OTHER_KID)))
    assert await store.find(KID) == record


async def test_a_deleted_kid_does_not_come_back(pair):
    """A new key with the kid of a deleted one is refused; others are made."""
    store, deletions = pair
    await deletions.delete(await removal(deletions, await revoked(store)))
    with pytest.raises(Deleted):
        await store.apply(issued())
    assert await store.apply(issued(OTHER_KID)) == 4


@pytest.mark.parametrize("digest", DIGESTS[:1])
async def test_a_deleted_import_does_not_come_back(pair, digest):
    """The text of a deleted imported key cannot be imported again, under any pepper."""
    store, deletions = pair
    await deletions.delete(await removal(deletions, await revoked(store, imported())))
    for digests in ([digest], [b"x" * 32, digest]):
        with pytest.raises(Deleted):
            await store.apply(imported(OTHER_KID, digests))
    assert await store.apply(imported(OTHER_KID, [b"x" * 32])) == 4


async def test_a_deleted_import_is_told(stores):
    """Before it is imported again, its digest says that it was deleted; an alias goes first."""
    store, deletions, imports = stores
    await deletions.delete(await removal(deletions, await revoked(store, imported())))
    await store.apply(imported(OTHER_KID, [b"x" * 32]))
    asked = [DIGESTS[:1], [b"y" * 32, DIGESTS[0]], [b"x" * 32, DIGESTS[0]], [b"y" * 32]]
    found = await imports.resolve_all(asked)
    assert [type(each) for each in found] == [Deleted, Deleted, str, type(None)]


async def test_other_keys_stay(pair):
    """A deletion leaves the keys and the audit entries of others."""
    store, deletions = pair
    await store.apply(issued(OTHER_KID))
    other = await store.find(OTHER_KID)
    await deletions.delete(await removal(deletions, await revoked(store)))
    assert await store.find(OTHER_KID) == other
    assert len(await deletions.entries(other)) == 1


async def test_a_batch_tells_of_a_deleted_key(valkey):
    """A batch gives Deleted for a key that may not come back, and makes the others."""
    async with valkey.endpoint.client() as client:
        deletions = StoredDeletions(client)
        record = await revoked(StoredKeys(client))
        await deletions.delete(await removal(deletions, record))
        found = await StoredBatches(client).apply_all([issued(), issued(OTHER_KID)])
    assert isinstance(found[0], Deleted)
    assert found[1] == 4
