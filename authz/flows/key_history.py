"""KeyHistory: the changes of one key. The CLI and the admin APIs call it."""

from dataclasses import dataclass

from authz.core.audit import AuditEntry
from authz.core.ports import AuditTrail
from authz.core.records import KeyRecord


@dataclass(frozen=True, slots=True)
class History:
    """The changes of a key, newest first. `lost`: the version whose entry is missing, or None."""

    entries: tuple[AuditEntry, ...]
    lost: int | None


class KeyHistory:
    """Reads the changes of keys from the audit trail."""

    def __init__(self, trail: AuditTrail) -> None:
        self._trail = trail

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
