"""The newest rows of the audit trail, page by page, of one partition or of several."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from authz.core.trail.ports import TrailStore
from authz.core.trail.rows import Row


class PlacedRow(NamedTuple):
    """A row. id: for people. cursor: begins the page that follows this row."""

    cursor: str
    id: str
    row: Row


class NewestRows(Protocol):
    """Reads the audit trail backwards."""

    async def before(self, cursor: str, count: int) -> Sequence[PlacedRow]:
        """Return at most `count` rows before a cursor, newest first; "": from the last row on.

        MUST be empty at the end of the trail alone. Raises Unavailable.
        """
        ...


class RowsOfOne:
    """The NewestRows of a single partition. A cursor is the id of a row."""

    def __init__(self, store: TrailStore) -> None:
        self._store = store

    async def before(self, cursor: str, count: int) -> Sequence[PlacedRow]:
        """Implement NewestRows.before."""
        return [PlacedRow(row.id, row.id, row) for row in await self._store.before(cursor, count)]
