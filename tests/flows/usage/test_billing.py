"""The export of billing records: each count is delivered once, whatever ends in between."""

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz.core.errors import BadInput
from authz.core.usage.billing.customers import Customers
from authz.flows.usage.billing import MAX_REFUSED, Receiver
from authz.process.billing_cursor import BillingCursor
from tests.support.flows.billing import HOUR, KIDS, Played

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # thousands of fsyncs
FAILURES = ("killed before", "killed after", "unavailable", "lost")
STEPS = st.one_of(
    st.tuples(
        st.just("count"),
        st.sampled_from(KIDS),
        st.integers(0, 30),
        st.sampled_from(("models", "-", "/v1/files/{name}")),
        st.sampled_from(("0", "1", "7")),
    ),
    st.tuples(
        st.just("export"),
        st.none() | st.tuples(st.integers(0, 6), st.sampled_from(FAILURES)),
    ),
    st.tuples(st.just("time"), st.integers(1, 5)),
    st.tuples(st.just("lose"), st.integers(0, 9)),
)


async def play(history, directory, **parts):
    """Play a history, and a last export without a failure. Return its world."""
    world = Played(directory, **parts)
    for name, *given_ in history:
        if name == "count":
            await world.count(*given_)
        elif name == "export":
            await world.export(*given_)
        elif name == "time":
            world.clock.now += given_[0] * HOUR
        else:
            world.lose(*given_)
    assert await world.export()
    return world


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEPS, min_size=1, max_size=14))
def test_the_sum_of_all_records_is_the_count(history):
    """For any history of counts, losses and failed exports, the receiver has what is counted.

    It takes each id once, and an id never has another content.
    """
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        world = asyncio.run(play(history, Path(name)))
        assert world.ledger.sums() == world.counted()


class ConfirmsFirst(BillingCursor):
    """The mutant: its records are confirmed before they are sent."""

    def prepare(self, records, now_ms):
        """Write the records, and forget that they are on their way."""
        number = super().prepare(records, now_ms)
        self.confirm(number)
        return number


class WritesLater(BillingCursor):
    """The mutant: its records are written when they are confirmed, not before they are sent."""

    def prepare(self, records, now_ms):
        """Remember the records in memory only."""
        self.waiting = (records, now_ms)
        return 0

    def confirm(self, number, refused=()):
        """Write the records that were delivered."""
        records, now_ms = self.waiting
        super().confirm(super().prepare(records, now_ms), refused)


@pytest.mark.parametrize("mutant", [ConfirmsFirst, WritesLater])
async def test_the_judge_finds_a_cursor_that_moves_at_another_time(tmp_path, mutant):
    """A cursor that moves before the confirmation loses records; one without a draft doubles."""
    kid = KIDS[0]
    history = [
        ("count", kid, 5, "models", "1"),
        ("export", (0, "killed before" if mutant is ConfirmsFirst else "killed after")),
        ("count", kid, 5, "models", "1"),
    ]
    sound = await play(history, tmp_path)
    assert sound.ledger.sums() == sound.counted()
    (tmp_path / "cursor").unlink()
    try:
        world = await play(history, tmp_path, cursor_class=mutant)
        differs = world.ledger.sums() != world.counted()
    except AssertionError:  # an id got another content
        differs = True
    assert differs


async def test_hours_that_are_open_are_not_exported(tmp_path):
    """An hour is exported two hours after its end, and not a moment earlier."""
    world = Played(tmp_path)
    await world.count(KIDS[0], 0)
    end = (world.clock.now // HOUR + 1) * HOUR
    world.clock.now = end + 2 * HOUR - 1
    assert await world.export()
    assert world.ledger.records == {}
    world.clock.now += 1
    assert await world.export()
    assert world.ledger.sums() == world.counted() != {}


async def test_records_of_a_key_without_a_customer_wait(tmp_path):
    """Records without a customer hold the floor, and are delivered when there is one."""
    world = Played(tmp_path, corrections=1)
    world.receiver = Receiver(world.ledger, customers=Customers("", {("key", KIDS[1]): "cus_1"}))
    await world.count(KIDS[0], 90)
    await world.count(KIDS[1], 90)
    assert await world.export()
    assert {record.kid for record in world.ledger.records.values()} == {KIDS[1]}
    assert world.exported.unassigned == 3
    assert world.exported.problem == f"key {KIDS[0]} has no customer"
    world.clock.now += 5 * HOUR
    world.receiver = Receiver(
        world.ledger, customers=Customers("", {("client", "acme-web"): "cus_2"})
    )
    assert await world.export()
    assert world.ledger.sums() == world.counted()
    assert world.exported.unassigned == 0
    customers = {record.kid: record.customer for record in world.ledger.records.values()}
    assert customers == {KIDS[0]: "cus_2", KIDS[1]: "cus_1"}


@pytest.mark.parametrize("span", [{"since": 20}, {"until": 95}, {"until": 85}])
async def test_waiting_records_of_hours_that_a_run_leaves_out(tmp_path, span):
    """A run of other hours forgets no record that waits for a customer."""
    world = Played(tmp_path, corrections=1)
    world.receiver = Receiver(world.ledger, customers=Customers("", {("key", KIDS[1]): "cus_1"}))
    await world.count(KIDS[0], 80)
    assert await world.export()
    assert world.exported.unassigned
    assert await world.export(**span)
    world.receiver = Receiver(world.ledger)
    assert await world.export()
    assert world.ledger.sums() == world.counted() != {}


async def test_a_key_that_is_not_billed(tmp_path):
    """The customer `-` means that nothing is delivered, and nothing is reported."""
    world = Played(tmp_path)
    world.receiver = Receiver(world.ledger, customers=Customers("", {("tenant", "acme"): "-"}))
    await world.count(KIDS[0], 9)
    assert await world.export()
    assert (world.ledger.records, world.exported.unassigned) == ({}, 0)


async def test_refused_records_do_not_hold_up_others(tmp_path):
    """The other records of the delivery count, and the refused ones are sent again."""
    world = Played(tmp_path)
    await world.count(KIDS[0], 9)
    await world.count(KIDS[1], 9)
    world.ledger.refuses = frozenset({KIDS[0]})
    assert await world.export()
    assert (world.exported.refused, world.exported.records) == (3, 3)
    assert world.exported.problem.endswith(": no")
    world.ledger.refuses = frozenset()
    assert await world.export()
    assert world.ledger.sums() == world.counted()
    assert {record.revision for record in world.ledger.records.values()} == {1}


async def test_a_refused_difference_keeps_its_revision(tmp_path):
    """A refused correction is sent again as the same revision, with what is missing by then."""
    world = Played(tmp_path)
    await world.count(KIDS[0], 9)
    assert await world.export()
    await world.count(KIDS[0], 9)
    world.ledger.refuses = frozenset({KIDS[0]})
    assert await world.export()
    assert world.exported.refused == 3
    await world.count(KIDS[0], 9)
    world.ledger.refuses = frozenset()
    assert await world.export()
    assert world.ledger.sums() == world.counted()
    assert {record.revision for record in world.ledger.records.values()} == {1, 2}


async def test_a_receiver_that_refuses_everything_ends_the_export(tmp_path):
    """Such a receiver is not asked a million times, and nothing counts as delivered."""
    world = Played(tmp_path)
    for hour in range(MAX_REFUSED):
        await world.count(KIDS[0], hour + 9)
    world.ledger.refuses = frozenset(KIDS)
    assert not await world.export()
    world.ledger.refuses = frozenset()
    assert await world.export()
    assert world.ledger.sums() == world.counted()


async def test_records_in_doubt(tmp_path):
    """A receiver that forgets ids gets old pending records again only if somebody says so."""
    world = Played(tmp_path)
    world.receiver = Receiver(world.ledger, forgets_ms=23 * HOUR)
    await world.count(KIDS[0], 9)
    assert not await world.export((0, "lost"))
    world.clock.now += 22 * HOUR
    assert not await world.export((0, "unavailable"))
    world.clock.now += 2 * HOUR
    with pytest.raises(BadInput, match=f"--in-doubt: .*{KIDS[0]}"):
        await world.export()
    assert await world.export(in_doubt="skip")
    assert (world.ledger.sums(), world.ledger.repeats) == (world.counted(), 0)
    await world.count(KIDS[1], 30)
    assert not await world.export((0, "killed before"))
    world.clock.now += 24 * HOUR
    assert await world.export(in_doubt="send")
    assert (world.ledger.sums(), world.ledger.repeats) == (world.counted(), 0)


async def test_expired_hours_are_no_difference(tmp_path):
    """If the store has nothing of a window any more, its hours have expired."""
    world = Played(tmp_path)
    await world.count(KIDS[0], 350)
    await world.count(KIDS[0], 9)
    assert await world.export()
    before = dict(world.ledger.records)
    for place in [place for place in world.usage.rows if place[2] < world.clock.now // HOUR - 300]:
        if place[1] == "h":
            del world.usage.rows[place]
    assert await world.export()
    assert world.ledger.records == before
