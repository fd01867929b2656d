"""Ports of the audit trail: the interfaces that flows need and storage implements.

MUST marks an obligation of the implementation. A flow relies on it and cannot check it.
"""

from __future__ import annotations  # the types are for readers and checkers alone

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from authz.core.audit import AuditEntry, AuditEvent
    from authz.core.trail.rows import Row


class AuditTrail(Protocol):
    """Reads the audit trail."""

    async def entry(self, kid: str, version: int) -> AuditEntry | None:
        """Return the entry that made this version of a key, or None if it is missing.

        MUST NOT read more than a bounded part of the trail. Raises Unreadable if the entry is
        garbled, Unavailable if the store fails.
        """
        ...


class TrailStore(Protocol):
    """Reads the audit trail as rows, and adds rows about the trail itself."""

    async def after(self, row_id: str, count: int) -> Sequence[Row]:
        """Return at most `count` rows after `row_id`, oldest first. "": from the first row on.

        Raises Unavailable.
        """
        ...

    async def before(self, row_id: str, count: int) -> Sequence[Row]:
        """Return at most `count` rows before `row_id`, newest first. "": from the last row on.

        Raises Unavailable.
        """
        ...

    async def add(self, after: Row, fields: Mapping[str, str]) -> tuple[str, bool] | None:
        """Add a row directly after the row `after`.

        Return the id of the new row, and whether it survives the loss of the primary. MUST do
        nothing and return None if the last row is not `after`, with the same fields: a failover can
        give its id to another row. Raises Unavailable, also if the reply was lost.
        """
        ...


class TrailNotes(Protocol):
    """Adds rows about things that are no change of a record."""

    async def append(self, event: AuditEvent, change_id: str) -> None:
        """Add a row without a kid behind the last row.

        MUST succeed on a full store. Raises Unavailable, also if the reply was lost.
        """
        ...
