"""Notes of expiries in the audit trail: each once, by whichever process."""

import asyncio
import json

import pytest

from authz.core.audit import Action
from authz.core.errors import Unavailable
from authz.core.notifications.notification import event_id
from authz.core.trail.expiries import Expiry, noted
from authz.core.trail.rows import Row
from authz.core.trail.verification import Verification
from authz.flows.notifications.expiry_watch import EXPIRIES, MAX_AGE_MS, ExpiryWatch
from tests.support.fakes import NOW
from tests.support.notifications import DeliveryRig
from tests.support.trail.memory_rows import KEYS

KID, OTHER = "A" * 16, "B" * 16
HOUR = 3_600_000


class Trail(DeliveryRig):
    """A trail with keys that expire, and a watch of a process."""

    def __init__(self):
        super().__init__()
        self.watch = self.process("one")

    def process(self, name):
        """Return the watch of another process."""
        return ExpiryWatch(self.rows, KEYS, self.clock, name)

    def write(self, kid, action, **detail):
        """Write the row of a change, now."""
        self.rows.seq += 1
        fields = dict(self.writer.fields(kid, action, "alice", detail))
        fields.pop("mac", None)
        fields["at"] = str(self.clock.wall_ms())
        self.rows.append(Row(f"{self.rows.seq}-0", KEYS.marked(fields)))
        self.writer.versions[kid] = self.rows.seq

    def notes(self):
        """Return the expiries that rows note."""
        return [one for row in self.rows.rows if (one := noted(row))]


@pytest.fixture
def trail():
    """A trail with one key that expires in an hour, and one that never does."""
    made = Trail()
    made.write(KID, Action.ISSUE, expires_at=NOW + HOUR)
    made.write(OTHER, Action.ISSUE, expires_at=None)
    return made


async def test_an_expiry_is_noted_once(trail):
    """The note comes after the expiry, and no restart and no other process repeats it."""
    assert await trail.watch.look() == 0
    trail.clock.advance(3600)
    assert await trail.watch.look() == 1
    assert trail.notes() == [Expiry(KID, NOW + HOUR)]
    for watch in (trail.watch, trail.process("one"), trail.process("two")):
        assert await watch.look() == 0
    trail.write(OTHER, Action.UPDATE, expires_at={"old": None, "new": NOW + 2 * HOUR})
    assert await trail.process("three").look() == 0


async def test_later_expiries_of_a_key(trail):
    """A key that was rotated after its expiry expires again."""
    trail.clock.advance(3600)
    await trail.watch.look()
    trail.write(KID, Action.ROTATE, expires_at=NOW + 5 * HOUR)
    trail.clock.advance(4 * 3600)
    assert await trail.watch.look() == 1
    assert [one.at for one in trail.notes()] == [NOW + HOUR, NOW + 5 * HOUR]


@pytest.mark.parametrize("action", [Action.REVOKE, Action.DELETE])
async def test_a_key_that_ended_before(trail, action):
    """A key that was revoked or deleted before its expiry does not expire."""
    trail.write(KID, action)
    trail.clock.advance(3600)
    assert await trail.watch.look() == 0


async def test_old_expiries_are_left_out(trail):
    """The first start does not note expiries that are older than 7 days."""
    trail.clock.advance((HOUR + MAX_AGE_MS) / 1000 + 1)
    assert await trail.watch.look() == 0


async def test_two_processes_at_the_same_time(trail):
    """If another row came since the read, nothing is added; the next round reads it first."""
    trail.clock.advance(3600)
    other, add = trail.process("two"), trail.rows.add

    async def late(row, fields):
        trail.rows.add = add
        assert await other.look() == 1
        return await add(row, fields)

    trail.rows.add = late
    assert await trail.watch.look() == 0
    assert await trail.watch.look() == 0
    assert len(trail.notes()) == 1


async def test_a_lost_reply(trail):
    """If the store fails after it has added a row, the row is found and not added again."""
    trail.clock.advance(3600)
    add = trail.rows.add

    async def lost(row, fields):
        await add(row, fields)
        raise Unavailable("no reply")

    trail.rows.add = lost
    with pytest.raises(Unavailable):
        await trail.watch.look()
    trail.rows.add = add
    assert await trail.watch.look() == 0
    assert len(trail.notes()) == 1


async def test_a_forged_note_hides_nothing(trail):
    """A note without a right mark does not keep the real one away, and makes no event."""
    await trail.delivery.deliver()
    trail.clock.advance(3600)
    detail = json.dumps({"key": KID, "expires_at": NOW + HOUR})
    trail.rows.append(Row("2-1", {"kid": "", "action": "expired", "detail": detail}))
    assert await trail.watch.look() == 1
    await trail.until_idle()
    (event,) = trail.delivered
    assert (event.type, event.kid, event.at) == ("authz.key.expired", KID, NOW + HOUR)
    assert event.data["details"] == {"expires_at": NOW + HOUR}
    assert event.id == event_id(trail.rows.rows[-1])


async def test_a_verification_accepts_notes(trail):
    """A note is a row of the trail like others: its verification finds no problem."""
    trail.clock.advance(3600)
    await trail.watch.look()
    verification = Verification(KEYS)
    for row in trail.rows.rows:
        verification.feed(row)
    assert not [one for one in verification.finish(2).findings if one.row.startswith("2-1")]


async def test_the_watch_goes_on_after_a_failure(trail):
    """A store that fails, or is not ours, ends no work."""
    trail.clock.advance(3600)
    rounds = []

    async def sleep(_):
        rounds.append(len(trail.notes()))
        await asyncio.sleep(0)
        if len(rounds) == 4:
            raise asyncio.CancelledError

    ours = iter([False, True, True, True])
    after, calls = trail.rows.after, []

    async def failing(row_id, count):
        calls.append(row_id)
        if len(calls) == 1:
            raise Unavailable("store")
        return await after(row_id, count)

    trail.rows.after = failing
    with pytest.raises(asyncio.CancelledError):
        await EXPIRIES.run(trail.watch.look, lambda: next(ours), sleep)
    assert rounds == [0, 0, 1, 1]
