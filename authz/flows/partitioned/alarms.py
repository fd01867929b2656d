"""Alarms in several partitions: that of a key is a row of the trail of its partition."""

from collections.abc import Sequence

from authz.core.partitions import Partitions
from authz.core.trail.alarms import Alarm
from authz.flows.notifications.alarm_notes import AlarmNotes
from authz.flows.partitioned.asking import ask, ask_all


class PartitionedAlarms:
    """An AlarmNotes."""

    def __init__(self, partitions: Partitions, parts: Sequence[AlarmNotes]) -> None:
        self._partitions = partitions
        self._parts = parts

    async def read(self) -> None:
        """Implement AlarmNotes.read. Raises Unavailable if one partition is missing."""
        await ask_all([part.read() for part in self._parts])

    def has(self, alarm: Alarm) -> bool:
        """Implement AlarmNotes.has."""
        return self._parts[self._partitions.of(alarm.kid)].has(alarm)

    async def add(self, alarm: Alarm) -> bool:
        """Implement AlarmNotes.add."""
        at = self._partitions.of(alarm.kid)
        return await ask(at, self._parts[at].add(alarm))
