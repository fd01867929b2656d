"""Notes of reminders in the audit trail: each once, by whichever process."""

from dataclasses import replace

import pytest

from authz.core.rotation import RotationPolicies, RotationPolicy
from authz.core.trail import reminders
from authz.core.trail.rows import Row
from authz.flows.notifications.reminder_watch import ReminderWatch
from tests.support.fakes import NOW, make_record
from tests.support.notifications import DeliveryRig
from tests.support.trail.memory_rows import KEYS

DAY = 86_400_000
KID, OTHER = "A" * 16, "B" * 16
POLICIES = RotationPolicies({}, RotationPolicy(90 * DAY, (14 * DAY, 3 * DAY)))


class Trail(DeliveryRig):
    """A trail, some keys, and the watch of a process."""

    def __init__(self):
        super().__init__()
        self.records = [make_record(kid=KID), make_record(kid=OTHER, plan="x")]
        self.writer.write(KID)
        self.watch = self.process("one")

    def process(self, name):
        """Return the watch of another process."""
        parts = (self.rows, KEYS, self.read, POLICIES)
        return ReminderWatch(*parts, clock=self.clock, writer=name)

    async def read(self):
        """Yield all records."""
        for record in self.records:
            yield record

    def notes(self, kid=KID):
        """Return secret and days of the reminders of a key."""
        found = [one for row in self.rows.rows if (one := reminders.noted(row))]
        return [(one.secret, one.before_ms // DAY) for one in found if one.kid == kid]


@pytest.fixture
def trail():
    """A trail with two new keys."""
    return Trail()


async def test_each_reminder_comes_once(trail):
    """14 days before, 3 days before and at the due time, also over restarts."""
    for days in (0, 76, 1, 10, 3, 100):
        trail.clock.advance(days * DAY / 1000)
        assert await trail.watch.look()
        assert await trail.process("two").look()
        trail.watch = trail.process("one") if days == 10 else trail.watch
    assert trail.notes() == trail.notes(OTHER) == [("1", 14), ("1", 3), ("1", 0)]


async def test_a_long_pause_gives_one_reminder(trail):
    """Of several reminders that have come the latest is noted."""
    trail.clock.advance(200 * DAY / 1000)
    await trail.watch.look()
    assert trail.notes() == [("1", 0)]


async def test_a_rotated_key(trail):
    """After a rotation the reminders begin again, for the new secret."""
    trail.clock.advance(90 * DAY / 1000)
    await trail.watch.look()
    record = trail.records[0]
    new = replace(record.secrets[0], id="2", created_at=NOW + 90 * DAY)
    trail.records[0] = replace(record, secrets=(*record.secrets, new))
    await trail.watch.look()
    assert trail.notes() == [("1", 0)]
    trail.clock.advance(80 * DAY / 1000)
    await trail.watch.look()
    assert trail.notes() == [("1", 0), ("2", 14)]


async def test_two_processes_at_the_same_time(trail):
    """If another row came since the read, the rest waits for the next look. None comes twice."""
    trail.clock.advance(90 * DAY / 1000)
    other, add = trail.process("two"), trail.rows.add

    async def late(row, fields):
        trail.rows.add = add
        assert await other.look()
        return await add(row, fields)

    trail.rows.add = late
    assert not await trail.watch.look()
    assert await trail.watch.look()
    assert trail.notes() == trail.notes(OTHER) == [("1", 0)]


async def test_a_forged_note_hides_nothing(trail):
    """A note without a right mark does not keep the real one away. The real one makes an event."""
    await trail.delivery.deliver()
    trail.clock.advance(90 * DAY / 1000)
    trail.records.pop()
    found = reminders.note(reminders.Reminder(KID, "1", 0, 1), "c", "w", 1)
    trail.rows.append(Row("1-1", found))
    await trail.watch.look()
    await trail.until_idle()
    (event,) = trail.delivered
    assert (event.type, event.kid) == ("authz.key.due", KID)
    assert event.data["details"] == {"secret": "1", "due_at": NOW + 90 * DAY}
