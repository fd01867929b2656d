"""Alarms in several partitions: that of a key is a row of the trail of its partition."""

from collections.abc import Sequence

from authz.core.trail.alarms import Alarm
from authz.flows.notifications.alarm_notes import AlarmNotes
from authz.flows.partitioned.asking import ask, ask_all
from authz.flows.partitioned.places import Places


class PartitionedAlarms:
    """An AlarmNotes."""

    def __init__(self, places: Places, parts: Sequence[AlarmNotes]) -> None:
        self._places = places
        self._parts = parts

    async def read(self) -> None:
        """Implement AlarmNotes.read. Raises Unavailable if one partition is missing."""
        await ask_all([part.read() for part in self._parts])

    def has(self, alarm: Alarm) -> bool:
        """Implement AlarmNotes.has: rows from the time with one partition lie in partition 0."""
        return any(part.has(alarm) for part in self._parts)

    async def add(self, alarm: Alarm) -> bool:
        """Implement AlarmNotes.add."""
        at = await self._places.of(alarm.kid)
        return await ask(at, self._parts[at].add(alarm))
