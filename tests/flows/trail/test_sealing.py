"""Sealing: one checkpoint for new rows, by any number of sealers, and a trail that went back."""

import logging
from collections.abc import Mapping, Sequence

import pytest

from authz.core.errors import OutcomeUnknown, Unavailable
from authz.core.trail.checkpoints import is_checkpoint
from authz.core.trail.report import Problem
from authz.core.trail.rows import Row
from authz.core.trail.verification import Removals, Verification
from authz.flows.trail.sealing import PAGE, Sealer
from tests.support.fakes import FakeClock
from tests.support.trail.memory_rows import KEYS, MemoryRows, Writer, altered


def sealer(store: MemoryRows, name: str = "one") -> Sealer:
    """Return a sealer of a trail."""
    return Sealer(store, KEYS, FakeClock(), name)


def problems(store: MemoryRows) -> set[Problem]:
    """Return the kinds of findings in a trail."""
    removals = Removals(KEYS)
    for row in store.rows:
        removals.feed(row)
    verification = Verification(KEYS, removed=removals.found)
    for row in store.rows:
        verification.feed(row)
    return {found.problem for found in verification.finish(store.seq, store.last_id).findings}


async def test_new_rows_get_one_checkpoint():
    """A second round without new rows writes nothing, also by another sealer."""
    store = MemoryRows()
    one, two = sealer(store), sealer(store, "two")
    assert (await one.seal()).rows == 0
    Writer(store).history(5)
    assert (await one.seal()).rows == 5
    for _ in range(3):
        assert (await two.seal()).rows == 0
        assert (await one.seal()).rows == 0
    assert [is_checkpoint(row) for row in store.rows] == [False] * 5 + [True]
    assert not problems(store)


async def test_only_new_rows_are_read():
    """A sealer that begins anew continues after the last checkpoint, not from the first row."""
    store = MemoryRows()
    writer = Writer(store)
    writer.history(PAGE * 3)
    await sealer(store).seal()
    writer.history(10)
    store.reads = 0
    assert (await sealer(store, "two").seal()).rows == 10
    assert store.reads <= 5
    assert not problems(store)


class Racing(MemoryRows):
    """A trail to which other rows come between the reading and the checkpoint."""

    def __init__(self, races: int) -> None:
        super().__init__()
        self.races = races
        self.writer = Writer(self, seed=7)

    async def add(self, after: Row, fields: Mapping[str, str]) -> tuple[str, bool] | None:
        """Implement TrailStore.add; another row comes first, some times."""
        if self.races:
            self.races -= 1
            self.writer.history(1)
        return await super().add(after, fields)


async def test_rows_that_come_meanwhile_are_sealed_too():
    """A checkpoint never misses a row that stands before it."""
    store = Racing(3)
    Writer(store).history(2)
    store.writer.versions = {row.kid: int(row.id[:-2]) for row in store.rows}
    assert (await sealer(store).seal()).rows == 5
    assert not problems(store)


async def test_a_trail_that_never_rests_is_given_up():
    """The number of tries is bounded."""
    store = Racing(1000)
    Writer(store).history(1)
    with pytest.raises(Unavailable, match="too fast"):
        await sealer(store).seal()


async def test_a_reply_that_was_lost_leads_to_no_second_checkpoint():
    """The next round finds the checkpoint whose reply was lost."""

    class Losing(MemoryRows):
        lose = True

        async def add(self, after: Row, fields: Mapping[str, str]) -> tuple[str, bool] | None:
            added = await super().add(after, fields)
            if self.lose:
                self.lose = False
                raise OutcomeUnknown("lost")
            return added

    store = Losing()
    Writer(store).history(3)
    one = sealer(store)
    with pytest.raises(OutcomeUnknown):
        await one.seal()
    assert (await one.seal()).rows == 0
    assert len(store.rows) == 4
    assert not problems(store)


async def test_a_confirmed_checkpoint_that_vanished_is_recorded(caplog):
    """The sealer logs it, and the next checkpoint says it for ever."""
    store = MemoryRows()
    writer, one = Writer(store), sealer(store)
    writer.history(5)
    await one.seal()
    kept = list(store.rows)
    writer.history(5)
    lost = (await one.seal()).last
    store.rows, store.seq, store.last_id = kept, 5, kept[-1].id  # an older state, put back
    writer = Writer(store, seed=3)
    writer.write("kid0000000000999")
    with caplog.at_level(logging.ERROR):
        sealed = await one.seal()
    assert (sealed.went_back, sealed.rows) == (lost, 1)
    assert "went back" in caplog.text
    assert problems(store) == {Problem.WENT_BACK}
    assert (await one.seal()).went_back == ""


async def test_a_checkpoint_that_was_not_confirmed_may_be_lost():
    """A failover that loses an unconfirmed checkpoint is no finding: nobody relied on it."""
    store = MemoryRows(survives=False)
    writer, one = Writer(store), sealer(store)
    writer.history(5)
    await one.seal()
    store.rows.pop()
    store.last_id = store.rows[-1].id
    writer.history(2)
    sealed = await one.seal()
    assert (sealed.went_back, sealed.rows) == ("", 7)
    assert not problems(store)


async def test_a_failover_during_a_round_breaks_nothing():
    """If rows that were read are lost, nothing is sealed on their behalf."""

    class FailingOver(MemoryRows):
        lost = False

        async def add(self, after: Row, fields: Mapping[str, str]) -> tuple[str, bool] | None:
            if not self.lost:
                self.lost = True
                del self.rows[-3:]
                self.seq, self.last_id = 7, self.rows[-1].id
                writer = Writer(self, seed=8)
                for number in range(4):  # other rows get the ids of those that were lost
                    writer.write(f"new{number:013d}")
            return await super().add(after, fields)

    store = FailingOver()
    Writer(store).history(10)
    assert (await sealer(store).seal()).rows == 11
    assert not problems(store)


async def test_a_key_that_is_deleted_during_a_round():
    """The rows that were read before the deletion are not sealed as if they were still there."""

    class Deleting(MemoryRows):
        calls = 0

        async def after(self, row_id: str, count: int) -> Sequence[Row]:
            self.calls += 1
            if self.calls in (3, 7):  # between the two readings of a round
                writer.delete(next(iter(writer.versions)))
            return await super().after(row_id, count)

        async def add(self, after: Row, fields: Mapping[str, str]) -> tuple[str, bool] | None:
            if self.calls < 12 and writer.versions:  # and after them
                writer.delete(next(iter(writer.versions)))
            return await super().add(after, fields)

    store = Deleting()
    writer = Writer(store)
    writer.history(20)
    await sealer(store).seal()
    assert not problems(store)
    assert sum(row.fields["action"] == "delete" for row in store.rows) >= 2


async def test_a_forged_row_is_reported_when_it_is_sealed(caplog):
    """A wrong mark is logged within a minute, before anybody verifies the trail."""
    store = MemoryRows()
    Writer(store).history(3)
    store.rows[1] = altered(store.rows[1], actor="mallory")
    with caplog.at_level(logging.ERROR):
        assert (await sealer(store).seal()).wrong == 1
    assert "2-0" in caplog.text


async def test_a_forged_checkpoint_is_not_continued(caplog):
    """A sealer that begins anew goes back to the last checkpoint with a good mark."""
    store = MemoryRows()
    writer = Writer(store)
    writer.history(3)
    await sealer(store).seal()
    writer.history(2)
    good = store.rows[3]
    store.append(Row(f"{store.seq}-1", {**good.fields, "detail": "{}"}))
    with caplog.at_level(logging.ERROR):
        await sealer(store, "two").seal()
    assert "forged or altered" in caplog.text
    assert problems(store) == {Problem.ALTERED}
