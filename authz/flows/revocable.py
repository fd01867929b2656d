"""RevocableKeys: finds also records with a bad seal, so that their keys can be revoked."""

from dataclasses import replace

from authz.core.admin_ports import KeyStore
from authz.core.changes import KeyChange
from authz.core.errors import BadSeal
from authz.core.fields import MAX_OUTAGE_GRACE_MS
from authz.core.records import KeyRecord, Status


class RevocableKeys:
    """A KeyStore for revocations alone. A change that it makes seals the record as it was found."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store

    async def find(self, kid: str) -> KeyRecord | None:
        """Return the record as KeyStore.find does.

        With a bad seal its status and its outage grace prove nothing: sidecars may have the key
        cached as active, with another grace. So it is one that is not revoked, with the longest
        grace. Raises BadSeal if it cannot be decoded either.
        """
        try:
            return await self._store.find(kid)
        except BadSeal as cause:
            if cause.record is None:
                raise
            longest = MAX_OUTAGE_GRACE_MS
            return replace(cause.record, status=Status.DISABLED, outage_grace=longest)

    async def apply(self, change: KeyChange) -> int:
        """Apply a revocation as KeyStore.apply does."""
        return await self._store.apply(change)

    async def replicas(self, change: KeyChange, version: int) -> int | None:
        """Return and raise the same as KeyStore.replicas."""
        return await self._store.replicas(change, version)
