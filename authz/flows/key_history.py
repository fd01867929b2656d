"""KeyHistory: the changes of one key. The CLI and the admin APIs call it."""

from dataclasses import dataclass
from typing import Final

from authz.core.audit import AuditEntry
from authz.core.errors import Unreadable
from authz.core.records import KeyRecord
from authz.core.trail.ports import AuditTrail

MAX_REVISION: Final = 1000  # entries that are read for it


@dataclass(frozen=True, slots=True)
class History:
    """The changes of a key, newest first. `lost`: the version whose entry is missing, or None."""

    entries: tuple[AuditEntry, ...]
    lost: int | None


class KeyHistory:
    """Reads the changes of keys from the audit trail."""

    def __init__(self, trail: AuditTrail) -> None:
        self._trail = trail

    async def revision(self, record: KeyRecord) -> int | None:
        """Return how many changes made this record; 1 for a new key.

        None if an entry is missing or garbled, or if there are more than MAX_REVISION (1000).
        Raises Unavailable if the store fails.
        """
        count, version = 0, record.version
        while version and count < MAX_REVISION:
            try:
                entry = await self._trail.entry(record.kid, version)
            except Unreadable:
                return None
            if entry is None:
                return None
            count, version = count + 1, entry.base_version
        return None if version else count

    async def of(self, record: KeyRecord) -> History:
        """Return the changes up to this version, newest first, until the first missing entry.

        Raises Unavailable if the store fails, Unreadable if an entry is garbled.
        """
        entries: list[AuditEntry] = []
        version = record.version
        while version:
            entry = await self._trail.entry(record.kid, version)
            if entry is None:
                return History(tuple(entries), version)
            entries.append(entry)
            version = entry.base_version
        return History(tuple(entries), None)
