"""Events that somebody wants delivered again: each once, the oldest first, beside new ones."""

import pytest

from authz.core.audit import Action
from authz.core.notifications.notification import event_id
from authz.core.notifications.ports import Answer, DeadLetter
from authz.flows.notifications.delivery import POLL, REPLAYED
from tests.support.fakes import make_record
from tests.support.notifications import OK, DeliveryRig
from tests.support.trail.memory_rows import Row

KID = "A" * 16


@pytest.fixture
async def rig():
    """A delivery that has begun, over an empty trail."""
    made = DeliveryRig(make_record(kid=KID))
    await made.delivery.deliver()
    return made


async def test_replay(rig):
    """An event is delivered again with its id, and its dead letter goes."""
    rig.writer.write(KID)
    rig.answer = lambda _: Answer(400)
    await rig.until_idle()
    (dead,) = rig.stored.letters["sink"]
    await rig.stored.ask("sink", [dead, "1-0-ffffffffffff", "nonsense"])
    await rig.delivery.deliver()
    assert (rig.delivered, list(rig.stored.letters["sink"])) == ([], [dead])
    rig.answer = lambda _: OK
    await rig.stored.ask("sink", [dead])
    await rig.delivery.deliver()
    assert [one.id for one in rig.delivered] == [dead]
    assert (rig.stored.letters["sink"], rig.stored.wanted["sink"]) == ({}, {})


async def test_replays_come_in_order(rig):
    """The oldest event is delivered again first, in whatever order the store names them."""
    for _ in range(3 * REPLAYED):
        rig.writer.write(KID)
    await rig.until_idle()
    ids = [one.id for one in rig.delivered]
    rig.delivered.clear()
    await rig.stored.ask("sink", [*ids[::2], *ids[1::2]])
    await rig.until_idle()
    assert [one.id for one in rig.delivered] == ids


async def test_a_replay_that_fails_is_logged(rig, caplog):
    """The line says so if there is no room to keep the event as a dead letter."""
    rig.writer.write(KID)
    await rig.until_idle()
    (event,) = rig.delivered
    rig.stored.room, rig.answer = 0, lambda _: Answer(503)
    await rig.stored.ask("sink", [event.id])
    await rig.delivery.deliver()
    (line,) = caplog.messages
    assert line.startswith(f"sink: {event.id} was not delivered again: the receiver answered 503")
    assert line.endswith("; there is no room for a new dead letter")


async def test_a_dead_letter_of_a_row_that_is_gone(rig):
    """A replay removes it: nothing else could, and it would take the room of others for ever."""
    gone = "1-0-ffffffffffff"
    await rig.stored.put("sink", gone, DeadLetter("authz.key.revoked", KID, 1, "no response"))
    await rig.stored.ask("sink", [gone])
    await rig.delivery.deliver()
    assert rig.stored.letters == {"sink": {}}


async def test_a_dead_letter_of_a_row_that_cannot_be_read(rig):
    """A replay keeps it: a newer version may read the row."""
    row = rig.writer.write(KID)
    rig.rows.rows[0] = Row(row.id, row.fields | {"action": "of a newer version"})
    letter = DeadLetter("authz.key.revoked", KID, 1, "no response")
    wanted = event_id(rig.rows.rows[0])
    await rig.stored.put("sink", wanted, letter)
    await rig.stored.ask("sink", [wanted])
    await rig.delivery.deliver()
    assert rig.delivered == []
    assert rig.stored.letters == {"sink": {wanted: letter}}


async def test_new_events_come_between_replays(rig):
    """An event that is new does not wait until all of many replays are tried."""
    olds = [rig.writer.write(KID) for _ in range(4 * REPLAYED)]
    await rig.until_idle()
    ids = [one.id for one in rig.delivered]
    rig.delivered.clear()
    await rig.stored.ask("sink", ids)
    new = rig.writer.write(KID, Action.REVOKE)
    await rig.delivery.deliver()
    assert rig.delivered[-1].id.startswith(new.id)
    assert len(rig.delivered) <= REPLAYED + 1
    while rig.stored.wanted["sink"]:
        assert await rig.delivery.deliver() in {0.0, POLL}
    assert len(rig.delivered) == len(olds) + 1
