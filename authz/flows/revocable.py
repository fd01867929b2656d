"""Finds records with a bad seal, for the revocation of one key or of many."""

from dataclasses import replace

from authz.core.admin_ports import KeyStore
from authz.core.changes import KeyChange
from authz.core.errors import BadSeal, Unreadable
from authz.core.fields import MAX_OUTAGE_GRACE_MS
from authz.core.records import KeyRecord, Status
from authz.core.selector import Selector


class RevocableKeys:
    """A KeyStore for revocations alone. A change that it makes seals the record as it was found."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store

    async def find(self, kid: str) -> KeyRecord | None:
        """Return the record as KeyStore.find does; one with a bad seal is made `revocable`.

        Raises BadSeal if such a record cannot be decoded, or has a version above the last change.
        """
        try:
            return await self._store.find(kid)
        except BadSeal as cause:
            if cause.record is None:
                raise
            return revocable(cause.record)

    async def apply(self, change: KeyChange) -> int:
        """Apply a revocation as KeyStore.apply does."""
        return await self._store.apply(change)

    async def replicas(self, change: KeyChange, version: int) -> int | None:
        """Return and raise the same as KeyStore.replicas."""
        return await self._store.replicas(change, version)


async def find_altered(
    store: KeyStore, kid: str, selector: Selector | None, now: int
) -> KeyRecord | None:
    """Return the record of a key that could not be read, to be revoked among others, or None.

    None unless it has a bad seal, can be decoded, and fits the selector as it is stored. now: ms
    since the epoch. Raises Unavailable if the store fails.
    """
    try:
        await store.find(kid)
    except BadSeal as cause:
        found = cause.record
        if found is not None and (selector is None or selector.matches(found, now)):
            return revocable(found)
    except Unreadable:
        pass
    return None


def revocable(found: KeyRecord) -> KeyRecord:
    """Return a record with a bad seal as one that is not revoked, with the longest outage grace.

    Its status and its grace prove nothing: sidecars may have the key cached as active, with another
    grace.
    """
    return replace(found, status=Status.DISABLED, outage_grace=MAX_OUTAGE_GRACE_MS)
