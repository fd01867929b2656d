"""UsageErasure: erases the facts about the callers of a key, and tells the audit trail."""

from typing import Protocol

from authz.core.audit import Action
from authz.core.changes import Author
from authz.core.ports import Clock
from authz.core.trail.erasures import KEY
from authz.core.trail.notes import note_event
from authz.core.trail.ports import TrailNotes
from authz.core.usage.ports import UsageEraser
from authz.core.usage.question import DAY_MS


class Erasure(Protocol):
    """Erases the facts about the callers of a key."""

    async def erase(self, kid: str, author: Author) -> int:
        """Erase them, after the trail was told. Return how many there were. Raises Unavailable."""
        ...


class UsageErasure:
    """Erases networks and user agents. Counts and times stay."""

    def __init__(self, eraser: UsageEraser, notes: TrailNotes, clock: Clock) -> None:
        self._eraser = eraser
        self._notes = notes
        self._clock = clock

    async def erase(self, kid: str, author: Author) -> int:
        """Erase the facts about the callers of a key. Return how many there were.

        The trail is told first, so nothing is erased without a row. Raises Unavailable if the store
        fails: then a row may be there, and facts are left.
        """
        now = self._clock.wall_ms()
        event = note_event(Action.ERASE_USAGE, author, now, {KEY: kid})
        await self._notes.append(event, author.change_id)
        return await self._eraser.erase(kid, now // DAY_MS)
