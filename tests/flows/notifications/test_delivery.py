"""Delivery of events: at least once, in order, with retries for a day and dead letters."""

import asyncio
import itertools

import pytest

from authz.core.audit import Action
from authz.core.errors import Unavailable
from authz.core.notifications.ports import Answer, Progress
from authz.flows.notifications.delivery import (
    MAX_PAUSE,
    OUTAGE_MS,
    PATIENCE_MS,
    REFUSAL_MS,
)
from authz.flows.notifications.regular_delivery import RegularDelivery
from tests.support.fakes import make_record
from tests.support.notifications import OK, DeliveryRig
from tests.support.trail.memory_rows import Row

KID, OTHER = "A" * 16, "B" * 16


class EnoughError(Exception):
    """Ends a delivery that would run for ever."""


@pytest.fixture
async def rig():
    """A delivery that has begun, over an empty trail."""
    made = DeliveryRig(make_record(kid=KID))
    await made.delivery.deliver()
    return made


async def test_a_new_sink_begins_now():
    """Rows from before the first start of a sink make no event for it."""
    rig = DeliveryRig()
    rig.writer.write(KID)
    await rig.until_idle()
    assert rig.delivered == []
    rig.writer.write(KID, Action.REVOKE)
    await rig.until_idle()
    assert [one.type for one in rig.delivered] == ["authz.key.revoked"]


async def test_events_come_in_order_once(rig):
    """More events than a batch has arrive once, in the order of the changes."""
    rows = [rig.writer.write(KID if n % 2 else OTHER) for n in range(250)]
    await rig.until_idle()
    assert [one.id.rsplit("-", 1)[0] for one in rig.delivered] == [row.id for row in rows]
    assert rig.delivered[1].data["client"] == make_record().client_id


async def test_a_receiver_that_is_down(rig):
    """Later events wait. When the receiver is back, all arrive once, with their ids."""
    rows = [rig.writer.write(KID) for _ in range(3)]
    rig.answer = lambda _: None
    pauses = [await rig.delivery.deliver() for _ in range(12)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == MAX_PAUSE
    assert len(set(rig.tried)) == 1
    rig.restart()
    rig.answer = lambda _: OK
    await rig.until_idle()
    assert len(rig.delivered) == len({one.id for one in rig.delivered}) == len(rows)
    assert rig.delivered[0].id == rig.tried[0]


async def test_a_process_that_ends_after_the_delivery(rig):
    """If the progress cannot be saved, the event is delivered again, with the same id."""
    rig.writer.write(KID)
    save = rig.stored.save

    async def fail(sink: str, progress: Progress) -> None:
        raise Unavailable("store")

    rig.stored.save = fail
    with pytest.raises(Unavailable):
        await rig.delivery.deliver()
    rig.stored.save = save
    rig.restart()
    await rig.until_idle()
    first, second = rig.delivered
    assert first == second


@pytest.mark.parametrize(
    ("answer", "patience"),
    [
        (None, PATIENCE_MS),
        (Answer(503), PATIENCE_MS),
        (Answer(429), PATIENCE_MS),
        (Answer(401), PATIENCE_MS),
        (Answer(302), PATIENCE_MS),
        (Answer(400), REFUSAL_MS),
        (Answer(422), REFUSAL_MS),
    ],
)
async def test_a_dead_letter(rig, answer, patience):
    """An event is given up after 24 h, one that is refused for itself after 10 minutes."""
    bad, good = rig.writer.write(KID), rig.writer.write(KID)
    rig.answer = lambda event: answer if event.id.startswith(bad.id) else OK
    began = rig.clock.wall_ms()
    await rig.until_idle(200)
    (letter,) = rig.stored.letters["sink"].values()
    assert patience <= letter.at - began <= patience + MAX_PAUSE * 1000
    assert [one.id.rsplit("-", 1)[0] for one in rig.delivered] == [good.id]


async def test_one_refusal_after_an_outage_is_no_reason_to_give_up(rig):
    """An hour without a refusal is an outage: the 10 minutes begin with the first one after it."""
    rig.writer.write(KID)
    for answer in (Answer(400), None, Answer(503), Answer(404), Answer(400)):
        rig.answer = lambda _, answer=answer: answer
        await rig.delivery.deliver()
        rig.clock.advance(OUTAGE_MS / 4000)
    assert rig.stored.letters == {}
    await rig.delivery.deliver()
    assert len(rig.stored.letters["sink"]) == 1


async def test_a_failure_of_another_kind_gives_nothing_up(rig):
    """Only a refusal proves that the event is refused still."""
    rig.writer.write(KID)
    for answer in (Answer(400), Answer(503)):
        rig.answer = lambda _, answer=answer: answer
        await rig.delivery.deliver()
        rig.clock.advance(REFUSAL_MS / 1000)
    assert rig.stored.letters == {}


@pytest.mark.parametrize("other", [None, Answer(503), Answer(404)])
async def test_refusals_between_other_failures(rig, other):
    """An event is given up within 45 minutes if every second try of it is refused."""
    bad, good = rig.writer.write(KID), rig.writer.write(KID)
    answers = itertools.cycle([Answer(400), other])
    rig.answer = lambda event: next(answers) if event.id.startswith(bad.id) else OK
    began = rig.clock.wall_ms()
    await rig.until_idle(200)
    (letter,) = rig.stored.letters["sink"].values()
    assert REFUSAL_MS <= letter.at - began <= 45 * 60_000
    assert [one.id.rsplit("-", 1)[0] for one in rig.delivered] == [good.id]


async def test_a_process_that_restarts_between_refusals(rig):
    """The store remembers the first refusal, so the event is given up after 10 minutes."""
    rig.writer.write(KID)
    rig.answer = lambda _: Answer(400)
    began = rig.clock.wall_ms()
    while not rig.stored.letters and rig.clock.wall_ms() < began + PATIENCE_MS:
        rig.restart()
        rig.clock.advance(await rig.delivery.deliver())
    (letter,) = rig.stored.letters["sink"].values()
    assert REFUSAL_MS <= letter.at - began <= REFUSAL_MS + MAX_PAUSE * 1000


async def test_each_refused_event_has_its_own_ten_minutes(rig):
    """The pauses between tries add up to 17 minutes, for the second event from its first try."""
    rig.writer.write(KID)
    rig.writer.write(KID)
    rig.answer = lambda _: Answer(400)
    began = rig.clock.wall_ms()
    await rig.until_idle(200)
    ages = [(one.at - began) // 60_000 for one in rig.stored.letters["sink"].values()]
    assert ages == [17, 34]


async def test_refusals_under_a_clock_that_was_ahead(rig):
    """After the clock was set back by a year, the 10 minutes begin anew."""
    rig.writer.write(KID)
    rig.answer = lambda _: Answer(400)
    year = 365 * PATIENCE_MS
    rig.clock.jump_wall(year)
    await rig.delivery.deliver()
    rig.clock.jump_wall(-year)
    began = rig.clock.wall_ms()
    await rig.until_idle(200)
    (letter,) = rig.stored.letters["sink"].values()
    assert REFUSAL_MS <= letter.at - began <= REFUSAL_MS + MAX_PAUSE * 1000


async def test_patience_survives_a_restart(rig):
    """The time of the first try is remembered by the store, not by the process."""
    rig.writer.write(KID)
    rig.answer = lambda _: None
    await rig.delivery.deliver()
    rig.clock.advance(PATIENCE_MS / 1000)
    rig.restart()
    await rig.until_idle()
    assert len(rig.stored.letters["sink"]) == 1


async def test_a_refusal_after_a_day_of_failures(rig):
    """The 24 hours end at any failure, also at the first refusal."""
    rig.writer.write(KID)
    rig.answer = lambda _: None
    await rig.delivery.deliver()
    rig.clock.advance(PATIENCE_MS / 1000)
    rig.answer = lambda _: Answer(400)
    await rig.delivery.deliver()
    assert len(rig.stored.letters["sink"]) == 1


async def test_dead_letters_have_a_bound(rig):
    """If there is no room for a dead letter, the event is kept and tried on."""
    rig.writer.write(KID)
    rig.stored.room, rig.answer = 0, lambda _: None
    await rig.delivery.deliver()
    rig.clock.advance(PATIENCE_MS / 500)
    assert await rig.delivery.deliver() > 0
    rig.answer = lambda _: OK
    await rig.until_idle()
    assert len(rig.delivered) == 1


async def test_a_receiver_names_a_pause(rig):
    """A longer Retry-After of the receiver is kept, up to a bound."""
    rig.writer.write(KID)
    rig.answer = lambda _: Answer(429, 60)
    assert await rig.delivery.deliver() == 60
    rig.answer = lambda _: Answer(429, 99_999)
    assert await rig.delivery.deliver() == MAX_PAUSE


async def test_a_clock_that_was_ahead(rig):
    """An event that failed while the clock was a year ahead is given up a day later, too."""
    bad, good = rig.writer.write(KID), rig.writer.write(KID)
    rig.answer = lambda event: None if event.id.startswith(bad.id) else OK
    year = 365 * PATIENCE_MS
    rig.clock.jump_wall(year)
    await rig.delivery.deliver()
    rig.clock.jump_wall(-year)
    rig.restart()
    await rig.until_idle(200)
    assert len(rig.stored.letters["sink"]) == 1
    assert [one.id.rsplit("-", 1)[0] for one in rig.delivered] == [good.id]


async def test_types(rig):
    """A sink gets the types that it wants. Other rows move its progress."""
    rig.wants = lambda kind: kind == "authz.key.revoked"
    rig.writer.write(KID)
    rig.writer.write(KID, Action.REVOKE)
    last = rig.writer.write(KID)
    await rig.until_idle()
    assert [one.type for one in rig.delivered] == ["authz.key.revoked"]
    assert rig.stored.progress["sink"] == Progress(last.id)


async def test_a_row_without_a_right_mark_makes_no_event(rig):
    """A writer of the store without the pepper cannot send events."""
    real = rig.writer.write(KID)
    forged = dict(rig.writer.fields(KID, Action.REVOKE, "mallory"))
    rig.rows.append(Row("7-0", {**forged, "mac": real.fields["mac"]}))
    rig.rows.append(Row("8-0", {name: text for name, text in forged.items() if name != "mac"}))
    await rig.until_idle()
    assert [one.id.rsplit("-", 1)[0] for one in rig.delivered] == [real.id]


async def test_rows_that_a_failover_lost(rig):
    """A cursor behind the end of the trail goes back to the end, so that later rows arrive."""
    for _ in range(3):
        rig.writer.write(KID)
    await rig.until_idle()
    rig.rows.rows.pop()
    await rig.until_idle()
    rig.rows.append(Row("3-0", rig.writer.fields(KID, Action.DISABLE, "alice")))
    await rig.until_idle()
    assert [one.type for one in rig.delivered][-1] == "authz.key.disabled"
    assert len({one.id for one in rig.delivered}) == 4


async def test_one_process_delivers():
    """Of two processes the one with the lease delivers."""
    rig = DeliveryRig()
    await rig.delivery.deliver()
    rig.writer.write(KID)
    rounds = 0

    async def sleep(_: float) -> None:
        nonlocal rounds
        rounds += 1
        if rounds > 20:
            raise EnoughError
        await asyncio.sleep(0)

    for instance in ("second", "first"):
        rig.stored.leader, rounds = "first", 0
        running = RegularDelivery([rig.delivery], rig.stored, instance, lambda: True, sleep)
        with pytest.raises(ExceptionGroup):
            await running.run()
        assert len(rig.delivered) == (instance == "first")


async def test_a_fault_of_one_sink_stops_no_other(caplog):
    """The fault is in the log, and the delivery to its sink is tried again."""
    broken, whole = DeliveryRig(), DeliveryRig()
    for rig in (broken, whole):
        await rig.delivery.deliver()
        rig.writer.write(KID)

    def fail(_event: object) -> Answer:
        raise RuntimeError("a fault")

    broken.answer, rounds = fail, 0

    async def sleep(_: float) -> None:
        nonlocal rounds
        rounds += 1
        if rounds > 20:
            raise EnoughError
        await asyncio.sleep(0)

    running = RegularDelivery(
        [broken.delivery, whole.delivery], whole.stored, "one", lambda: True, sleep
    )
    with pytest.raises(ExceptionGroup) as caught:
        await running.run()
    assert caught.group_contains(EnoughError)
    assert len(whole.delivered) == 1
    assert len(broken.tried) > 1
    assert "sink: events wait because of a fault" in caplog.text
