"""Deletions in a real store whose connection fails after the deletion was made."""

import pytest
from redis.exceptions import ConnectionError as Lost

from authz.core import deletion
from authz.core.errors import OutcomeUnknown
from authz.core.merging import Applied
from authz.storage.applied import StoredApplied
from authz.storage.deletions import StoredDeletions
from authz.storage.keys import StoredKeys
from tests.support.changes import author, issued
from tests.support.fakes import KID, NOW


@pytest.mark.parametrize("command", ["delete", "hdel"])
async def test_a_deletion_whose_end_failed_is_repeated(valkey, monkeypatch, command):
    """A fault after the deletion leaves the outcome unknown; the same deletion completes it."""
    async with valkey.endpoint.client() as client:
        store, deletions, applied = (
            StoredKeys(client),
            StoredDeletions(client),
            StoredApplied(client),
        )
        await store.apply(issued())
        await applied.save({KID: Applied(1, {"name": "shop"})})
        record = await store.find(KID)
        entries = await deletions.entries(record)
        planned = deletion.delete(record, entries, author(), NOW, is_forced=True)

        async def fail(*_args):
            raise Lost("injected")

        with monkeypatch.context() as patched:
            patched.setattr(client, command, fail)
            with pytest.raises(OutcomeUnknown, match="injected"):
                await deletions.delete(planned)
        assert await store.find(KID) is None
        assert await deletions.delete(planned) == 2
        assert await applied.load() == {}
