"""KeyListing: pages of keys, and the history of one key. The CLI and the admin APIs call it."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from authz.core.audit import AuditEntry
from authz.core.errors import Unreadable
from authz.core.ports import AuditTrail, KeyIndex
from authz.core.records import KeyRecord, Status

CHUNK: Final = 500  # records read in one call
MAX_CHUNKS: Final = 20  # calls for one page with a filter


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a list. `why`: the reason if its record cannot be read."""

    kid: str
    record: KeyRecord | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list. `next`: the cursor of the next page, None at the end."""

    entries: tuple[Entry, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class History:
    """The changes of a key, newest first. `lost`: the version whose entry is missing, or None."""

    entries: tuple[AuditEntry, ...]
    lost: int | None


class KeyListing:
    """Lists and histories. The cost of a page does not depend on its place in the list."""

    def __init__(self, index: KeyIndex, trail: AuditTrail) -> None:
        self._index = index
        self._trail = trail

    async def page(
        self,
        limit: int,
        cursor: str = "",
        *,
        client_id: str | None = None,
        status: Status | None = None,
    ) -> Page:
        """Return at most `limit` keys that follow the kid `cursor`; the first ones if it is empty.

        client_id, status: list only these. With a filter a page may have fewer keys, even none, and
        still a next page: the number of records read is bounded. An unreadable record is always
        listed: it may match the filter. Raises BadInput if `cursor` is no kid of the list,
        Unavailable if the store fails.
        """
        found: list[Entry] = []
        for _ in range(MAX_CHUNKS):
            size = limit if status is None else max(limit, CHUNK)
            kids = await self._index.kids(client_id, cursor, size + 1)
            for entry in await self._entries(kids[:size], client_id):
                cursor = entry.kid
                if status is None or entry.record is None or entry.record.status is status:
                    found.append(entry)
                    if len(found) == limit:
                        return Page(tuple(found), cursor if cursor != kids[-1] else None)
            if len(kids) <= size:
                return Page(tuple(found), None)
            cursor = kids[size - 1]
        return Page(tuple(found), cursor)

    async def keys_of(self, client_id: str) -> AsyncIterator[Entry]:
        """Yield all keys of a client, page by page, also unreadable ones.

        Raises Unavailable if the store fails, also after some keys.
        """
        cursor: str | None = ""
        while cursor is not None:
            page = await self.page(CHUNK, cursor, client_id=client_id)
            for entry in page.entries:
                yield entry
            cursor = page.next

    async def history(self, record: KeyRecord) -> History:
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

    async def _entries(self, kids: Sequence[str], client_id: str | None) -> list[Entry]:
        """Return the entries of `kids`, without keys that belong to another client by now.

        A record that is missing or unreadable gives an entry without a record. client_id: None
        keeps all.
        """
        shown = []
        for kid, found in zip(kids, await self._index.read(kids), strict=True):
            if isinstance(found, KeyRecord):
                if client_id is None or found.client_id == client_id:
                    shown.append(Entry(kid, found))
            else:
                why = str(found) if isinstance(found, Unreadable) else f"record {kid}: is not there"
                shown.append(Entry(kid, None, why))
        return shown
