"""TrailAlarms: the alarms in an audit trail, each noted once, by whichever process."""

from typing import Final, Protocol

from authz.core.ports import Clock
from authz.core.trail import alarms
from authz.core.trail.alarms import Alarm
from authz.core.trail.ports import TrailStore
from authz.core.trail.rows import TrailKeys
from authz.flows.notifications.noting import Noting

MAX_TRIES: Final = 10  # of one note, while others add rows to the trail


class AlarmNotes(Protocol):
    """The alarms that were noted."""

    async def read(self) -> None:
        """Read the alarms that are new. Raises Unavailable; the next call then reads all."""
        ...

    def has(self, alarm: Alarm) -> bool:
        """Return whether a noted alarm covers this one, as far as they were read."""
        ...

    async def add(self, alarm: Alarm) -> bool:
        """Note an alarm. Return False if another process noted it, or the trail is too busy.

        Raises Unavailable.
        """
        ...


class TrailAlarms:
    """An AlarmNotes: rows of one trail. writer: the actor of the rows."""

    def __init__(self, store: TrailStore, keys: TrailKeys, clock: Clock, writer: str) -> None:
        self._known = _Known()
        self._noting = Noting[Alarm](
            *(store, keys, self._known),
            note=alarms.note,
            noted=alarms.noted,
            clock=clock,
            writer=writer,
        )

    async def read(self) -> None:
        """Implement AlarmNotes.read."""
        await self._noting.read()

    def has(self, alarm: Alarm) -> bool:
        """Implement AlarmNotes.has."""
        return self._known.has(alarm)

    async def add(self, alarm: Alarm) -> bool:
        """Implement AlarmNotes.add: at most MAX_TRIES (10) times, each behind the last row.

        The change of the key by a rule is a row, too, so the last one that was read is not enough.
        """
        for _ in range(MAX_TRIES):
            await self._noting.read()
            if self._known.has(alarm):
                return False
            if await self._noting.add(alarm):
                return True
        return False


class _Known:
    """The latest alarms of each key."""

    def __init__(self) -> None:
        self._alarms: dict[str, list[Alarm]] = {}

    def clear(self) -> None:
        self._alarms = {}

    def remember(self, one: Alarm) -> None:
        before = [old for old in self._alarms.get(one.kid, []) if not one.covers(old)]
        self._alarms[one.kid] = [*before[-len(one.reasons) :], one]

    def has(self, one: Alarm) -> bool:
        return any(old.covers(one) for old in self._alarms.get(one.kid, []))
