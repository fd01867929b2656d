"""Shipper: copies the audit trail to a place outside the store, at least once, in order."""

from collections.abc import Sequence
from typing import Final, Protocol

from authz.core.trail.ports import TrailStore
from authz.core.trail.rows import Row

BATCH: Final = 500  # rows in one delivery


class TrailSink(Protocol):
    """Receives rows."""

    async def deliver(self, rows: Sequence[Row]) -> None:
        """Return when the rows are safe in the other place. Raises Unavailable if they are not."""
        ...


class Cursor(Protocol):
    """Remembers the last row that was delivered."""

    def load(self) -> str:
        """Return the id of the last delivered row, or "" if none was saved.

        Raises BadInput if the saved id is garbled.
        """
        ...

    def save(self, row_id: str) -> None:
        """Remember an id. MUST survive the end of the process. Raises Unavailable."""
        ...


class Shipper:
    """Delivers the rows after a cursor. The cursor moves after the delivery.

    If the process ends between the two, the rows are delivered again.
    """

    def __init__(self, store: TrailStore, sink: TrailSink, cursor: Cursor) -> None:
        self._store = store
        self._sink = sink
        self._cursor = cursor

    async def ship(self) -> int:
        """Deliver all rows after the cursor, oldest first. Return how many.

        The cursor moves after each delivery of up to BATCH (500) rows. Raises Unavailable if the
        store, the sink or the cursor fails; earlier deliveries count. Raises BadInput if the cursor
        is garbled.
        """
        shipped, last = 0, self._cursor.load()
        while rows := await self._store.after(last, BATCH):
            await self._sink.deliver(rows)
            last = rows[-1].id
            self._cursor.save(last)
            shipped += len(rows)
        return shipped
