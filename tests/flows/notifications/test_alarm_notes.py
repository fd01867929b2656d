"""The alarms of a trail, while others add rows to it."""

from authz.core.trail.alarms import Alarm
from authz.core.usage.anomalies.features import Feature, Reason
from authz.flows.notifications.alarm_notes import MAX_TRIES, TrailAlarms
from tests.support.anomalies.memory_habits import FIRST
from tests.support.notifications import DeliveryRig
from tests.support.trail.memory_rows import KEYS

A = "A" * 16
ALARM = Alarm(A, FIRST, {Feature.RATE: Reason(Feature.RATE, 9, 1, 2)})


class Busy:
    """A TrailStore to which another process adds a row before each of the first calls of `add`."""

    def __init__(self, rig, times):
        self.rig, self.times = rig, times
        self.after, self.before = rig.rows.after, rig.rows.before

    async def add(self, after, fields):
        """Implement TrailStore.add."""
        if self.times:
            self.times -= 1
            self.rig.writer.write(A)
        return await self.rig.rows.add(after, fields)


def notes_of(times):
    """Return the alarms of a trail that so many rows of others are added to, and the trail."""
    rig = DeliveryRig()
    rig.writer.write(A)
    return TrailAlarms(Busy(rig, times), KEYS, rig.clock, "one"), rig


async def test_rows_of_others():
    """The alarm is noted behind a row that came meanwhile, as the one of its own rule."""
    notes, _ = notes_of(MAX_TRIES - 1)
    assert not notes.has(ALARM)
    assert await notes.add(ALARM)
    assert notes.has(ALARM)


async def test_a_trail_that_is_too_busy():
    """The alarm is not noted, and is left to the next look."""
    notes, _ = notes_of(MAX_TRIES)
    assert not await notes.add(ALARM)
    assert not notes.has(ALARM)
    assert await notes.add(ALARM)


async def test_an_alarm_of_another_process():
    """An alarm that came after the read is not noted again."""
    notes, rig = notes_of(0)
    await notes.read()
    other = TrailAlarms(rig.rows, KEYS, rig.clock, "two")
    assert await other.add(ALARM)
    count = len(rig.rows.rows)
    assert not await notes.add(ALARM)
    assert notes.has(ALARM)
    assert len(rig.rows.rows) == count
