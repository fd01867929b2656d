"""Verification of the audit trail: planted manipulations are found, honest trails are clean."""

import random
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.core.audit import Action
from authz.core.trail.checkpoints import restored
from authz.core.trail.report import Problem, Report
from authz.core.trail.rows import MARK, Row, TrailKeys, position
from authz.core.trail.verification import Removals, Verification
from authz.flows.trail.sealing import Sealer
from tests.support.fakes import NOW, FakeClock, make_keyring
from tests.support.trail.memory_rows import (
    KEYS,
    MemoryRows,
    Writer,
    altered,
    unmarked,
    with_detail,
)

ROUNDS: Final = 6
CHANGES: Final = 12  # between two checkpoints


async def sealed_history(keys: TrailKeys | None = KEYS) -> MemoryRows:
    """Return a trail with ROUNDS checkpoints, the last one at the end."""
    store, clock = MemoryRows(), FakeClock()
    writer, sealer = Writer(store, keys), Sealer(store, KEYS, clock, "sealer-1")
    for _ in range(ROUNDS):
        writer.history(CHANGES)
        clock.advance(60)
        await sealer.seal()
    return store


HISTORY: Final[list[Row]] = []


async def sealed_history_again() -> MemoryRows:
    """Return a copy of one sealed history, which is made once."""
    if not HISTORY:
        HISTORY.extend((await sealed_history()).rows)
    store = MemoryRows()
    for row in HISTORY:
        store.append(row)
    store.seq = ROUNDS * CHANGES
    return store


def verified(
    rows: list[Row], seq: int = 0, last_id: str = "", keys: TrailKeys = KEYS, **known: int
) -> Report:
    """Return the report on these rows."""
    removals = Removals(keys)
    for row in rows:
        removals.feed(row)
    verification = Verification(keys, removed=removals.found, **known)
    for row in rows:
        verification.feed(row)
    return verification.finish(seq, last_id)


def checked(store: MemoryRows, **known: int) -> Report:
    """Return the report on a trail as it is now."""
    return verified(store.rows, store.seq, store.last_id, **known)


def index(rows: list[Row], row_id: str) -> int:
    """Return where a row stands."""
    return [row.id for row in rows].index(row_id)


def checkpoint(rows: list[Row], which: int) -> int:
    """Return where the n-th checkpoint stands."""
    return [at for at, row in enumerate(rows) if not row.kid][which]


def swap(rows: list[Row], one: int, other: int) -> None:
    """Let two rows change their contents, each under the id of the other."""
    first, second = rows[one], rows[other]
    rows[one], rows[other] = Row(first.id, second.fields), Row(second.id, first.fields)


def renumber(rows: list[Row], start: int, by: int) -> None:
    """Give the entries from `start` on other numbers, so that no gap shows."""
    for at in range(start, len(rows)):
        number, part = position(rows[at].id)
        rows[at] = Row(f"{number + by}-{part}", rows[at].fields)


def replace_at(place: int, **fields: str) -> Callable[[list[Row]], None]:
    """Return a manipulation that alters fields of a row and leaves the mark."""
    return lambda rows: rows.__setitem__(place, altered(rows[place], **fields))


def insert_row(rows: list[Row], at: int, row_id: str, source: Row) -> None:
    """Put a copy of a row in, under another id."""
    rows.insert(at, Row(row_id, dict(source.fields)))


def forged_checkpoint(rows: list[Row]) -> None:
    """Remove an entry, and replace the next checkpoint by one under another key."""
    from authz.core.trail import checkpoints
    from authz.core.trail.checkpoints import Chain

    del rows[20]
    stranger = make_keyring("ak", "1").trail_keys
    stranger = TrailKeys({"1": b"x" * 32})
    chain, at = Chain(), checkpoint(rows, 1)
    for row in rows[:at]:
        chain.extend(row)
    fields = checkpoints.checkpoint(chain, stranger, change_id="c", writer="w", at=NOW)
    rows[at] = Row(rows[at].id, fields)


def rehash(rows: list[Row]) -> None:
    """Remove an entry and write the right hash into all checkpoints, without the pepper."""
    from authz.core.trail.checkpoints import Chain

    del rows[20]
    chain = Chain()
    for at, row in enumerate(rows):
        if not row.kid:
            rows[at] = with_detail(row, count=chain.count, hash=chain.digest.hex())
        chain.extend(rows[at])


def move_checkpoint(rows: list[Row], which: int, to: int) -> None:
    """Move a checkpoint to another place."""
    row = rows.pop(checkpoint(rows, which))
    number, _ = position(rows[to].id)
    rows.insert(to + 1, Row(f"{number}-1", row.fields))


def truncate(rows: list[Row], at: int) -> None:
    """Remove everything from a place on."""
    del rows[at:]


def shuffle(rows: list[Row]) -> None:
    """Let all entries between two checkpoints change places."""
    first, last = checkpoint(rows, 1) + 1, checkpoint(rows, 2)
    contents = [row.fields for row in rows[first:last]]
    random.Random(3).shuffle(contents)
    for at, fields in zip(range(first, last), contents, strict=True):
        rows[at] = Row(rows[at].id, fields)


def truncate_front(rows: list[Row], count: int) -> None:
    """Remove the first rows."""
    del rows[:count]


def remove_key(rows: list[Row], kid: str) -> None:
    """Remove every entry of one key."""
    rows[:] = [row for row in rows if row.kid != kid]


def keep_last_checkpoint(rows: list[Row]) -> None:
    """Remove every checkpoint but the last one."""
    last = rows[checkpoint(rows, -1)].id
    rows[:] = [row for row in rows if row.kid or row.id == last]


# Every manipulation is made in rows that a checkpoint has sealed; the store's sequence stays.
MANIPULATIONS: Final[dict[str, Callable[[list[Row]], object]]] = {
    "remove the first entry": lambda rows: rows.pop(0),
    "remove the first ten rows": lambda rows: truncate_front(rows, 10),
    "remove all up to the first checkpoint": lambda rows: truncate_front(rows, CHANGES),
    "remove all up to and with a checkpoint": lambda rows: truncate_front(rows, CHANGES + 1),
    "remove one entry in the middle": lambda rows: rows.pop(30),
    "remove two entries side by side": lambda rows: (rows.pop(30), rows.pop(30)),
    "remove two entries far apart": lambda rows: (rows.pop(50), rows.pop(15)),
    "remove the entry before a checkpoint": lambda rows: rows.pop(checkpoint(rows, 2) - 1),
    "remove the entry after a checkpoint": lambda rows: rows.pop(checkpoint(rows, 2) + 1),
    "remove an entry and close the gap": lambda rows: (rows.pop(30), renumber(rows, 30, -1)),
    "remove all entries of one key": lambda rows: remove_key(rows, rows[0].kid),
    "remove all entries of one author's day": lambda rows: rows.__delitem__(slice(14, 20)),
    "remove a checkpoint": lambda rows: rows.pop(checkpoint(rows, 2)),
    "remove the first checkpoint": lambda rows: rows.pop(checkpoint(rows, 0)),
    "remove all checkpoints but the last": keep_last_checkpoint,
    "remove everything between two checkpoints": lambda rows: rows.__delitem__(
        slice(checkpoint(rows, 1) + 1, checkpoint(rows, 2))
    ),
    "remove a checkpoint and what it sealed": lambda rows: rows.__delitem__(
        slice(checkpoint(rows, 1) + 1, checkpoint(rows, 2) + 1)
    ),
    "remove the last checkpoint": lambda rows: rows.pop(),
    "remove the last checkpoint and the entry before": lambda rows: (rows.pop(), rows.pop()),
    "remove the last third": lambda rows: truncate(rows, len(rows) * 2 // 3),
    "remove everything": lambda rows: rows.clear(),
    "alter the author": replace_at(25, actor="mallory"),
    "alter the time": replace_at(25, at=str(NOW)),
    "alter the action": replace_at(25, action="enable"),
    "alter the reason": replace_at(25, note="approved"),
    "alter the detail": replace_at(25, detail='{"scopes": {"old": [], "new": ["*"]}}'),
    "alter the key": replace_at(25, kid="kid0000000000099"),
    "alter the base version": replace_at(25, base="1"),
    "alter the change id": replace_at(25, change_id="0" * 32),
    "add a field": replace_at(25, source="10.0.0.1"),
    "alter the mark": replace_at(25, **{MARK: "1:" + "0" * 64}),
    "name another pepper in the mark": replace_at(25, **{MARK: "2:" + "0" * 64}),
    "remove the mark": lambda rows: rows.__setitem__(25, unmarked(rows[25])),
    "remove every mark of entries": lambda rows: rows.__setitem__(
        slice(0, None), [unmarked(row) if row.kid else row for row in rows]
    ),
    "alter the time of a checkpoint": lambda rows: replace_at(checkpoint(rows, 2), at="1")(rows),
    "alter the count of a checkpoint": lambda rows: rows.__setitem__(
        checkpoint(rows, 2), with_detail(rows[checkpoint(rows, 2)], count=1)
    ),
    "write right hashes without the pepper": rehash,
    "forge a checkpoint under another key": forged_checkpoint,
    "move a checkpoint": lambda rows: move_checkpoint(rows, 2, 45),
    "repeat a checkpoint": lambda rows: insert_row(
        rows, 41, f"{position(rows[40].id)[0]}-1", rows[checkpoint(rows, 1)]
    ),
    "insert a copy of an entry": lambda rows: insert_row(
        rows, 31, f"{position(rows[30].id)[0]}-1", rows[10]
    ),
    "insert an entry without a mark": lambda rows: insert_row(
        rows, 31, f"{position(rows[30].id)[0]}-1", unmarked(rows[10])
    ),
    "insert an entry and make room for it": lambda rows: (
        renumber(rows, 31, 1),
        insert_row(rows, 31, f"{position(rows[30].id)[0] + 1}-0", rows[10]),
    ),
    "swap two entries side by side": lambda rows: swap(rows, 28, 29),
    "swap two entries far apart": lambda rows: swap(rows, 14, 60),
    "swap entries over a checkpoint": lambda rows: swap(
        rows, checkpoint(rows, 2) - 1, checkpoint(rows, 2) + 1
    ),
    "swap two checkpoints": lambda rows: swap(rows, checkpoint(rows, 1), checkpoint(rows, 2)),
    "shuffle the entries between two checkpoints": shuffle,
    "replace an entry by another one": lambda rows: rows.__setitem__(
        30, Row(rows[30].id, rows[10].fields)
    ),
}


def test_there_are_at_least_forty_manipulations():
    """The table has not lost rows."""
    assert len(MANIPULATIONS) >= 40


@pytest.mark.parametrize("name", MANIPULATIONS)
async def test_a_manipulation_of_sealed_rows_is_found(name: str):
    """Each kind of removal, change, insertion and reordering leads to a finding."""
    store = await sealed_history_again()
    assert checked(store).is_intact
    before = list(store.rows)
    MANIPULATIONS[name](store.rows)
    assert store.rows != before
    assert not checked(store).is_intact


async def test_without_checkpoints_some_manipulations_would_be_missed():
    """A trail of marked rows alone does not show every swap: the checkpoints do."""
    store, missed = await sealed_history(), 0
    for name, manipulate in MANIPULATIONS.items():
        rows = [row for row in store.rows if row.kid]
        before = list(rows)
        try:
            manipulate(rows)
        except IndexError:  # it is about a checkpoint
            continue
        missed += rows != before and verified(rows, store.seq).is_intact
        assert name
    assert missed


async def test_an_honest_trail_is_clean():
    """The report counts rows and checkpoints, and says how far the trail is sealed."""
    store = await sealed_history()
    writer = Writer(store, seed=9)
    writer.write("kid9990000000000")
    report = checked(store)
    assert report.is_intact
    assert (report.checkpoints, report.rows) == (ROUNDS, ROUNDS * (CHANGES + 1) + 1)
    assert (report.unsealed, report.sealed_until) == (1, store.rows[-2].id)
    assert not report.unmarked


async def test_rows_that_stay_unsealed_are_found_if_asked_for():
    """With a bound on the age of unsealed rows, a sealer that stopped is noticed."""
    store = await sealed_history()
    Writer(store, seed=9).write("kid9990000000000")
    verification = Verification(KEYS)
    for row in store.rows:
        verification.feed(row)
    report = verification.finish(store.seq, store.last_id, sealed_since=NOW * 2)
    assert [found.problem for found in report.findings] == [Problem.UNSEALED]


async def test_entries_from_before_the_upgrade_are_named_by_number():
    """Rows without a mark in front of the first marked one are told, and are no finding."""
    store, clock = MemoryRows(), FakeClock()
    old = Writer(store, keys=None)
    old.history(20)
    new = Writer(store, seed=2)
    new.versions = old.versions
    new.history(20)
    await Sealer(store, KEYS, clock, "s").seal()
    report = checked(store)
    assert report.is_intact
    assert (report.unmarked, report.unmarked_until) == (20, 20)
    # From the first checkpoint on they are protected too.
    store.rows[5] = altered(store.rows[5], actor="mallory")
    assert [found.problem for found in checked(store).findings] == [Problem.BROKEN]


async def test_an_entry_without_a_mark_among_marked_ones_is_found():
    """An older version may have written it in a rolling upgrade, which the operator can say."""
    store = MemoryRows()
    new, old = Writer(store), Writer(store, keys=None, seed=4)
    new.write("kid0000000000001")
    old.write("kid0000000000002")
    assert [found.problem for found in checked(store).findings] == [Problem.UNMARKED]
    assert checked(store, unmarked_until=2).is_intact


async def test_a_trail_that_was_trimmed_on_purpose():
    """The rest can be verified if the operator says what was removed, and is found otherwise."""
    store = await sealed_history()
    truncate_front(store.rows, 20)
    first, _ = position(store.rows[0].id)
    assert {found.problem for found in checked(store).findings} == {Problem.TRIMMED}
    assert checked(store, trimmed_before=first).is_intact
    store.rows.pop(0)
    assert not checked(store, trimmed_before=first).is_intact
    del store.rows[30]
    assert Problem.BROKEN in {f.problem for f in checked(store, trimmed_before=first).findings}


async def test_a_restore_explains_the_numbers_that_it_skips():
    """The marked row of a restore says which changes are lost. Nobody can write it elsewhere."""
    store = await sealed_history()
    last = store.seq
    store.seq += 50
    numbers = {"last": last, "number": store.seq}
    fields = restored(KEYS, change_id="r", writer="w", at=NOW, left_out={}, **numbers)
    store.append(Row(f"{store.seq}-0", fields))
    assert checked(store).is_intact
    Writer(store, seed=5).write("kid9990000000000")
    assert checked(store).is_intact
    moved = [*store.rows[:-2], Row(f"{store.seq - 5}-0", fields), store.rows[-1]]
    assert not verified(moved, store.seq).is_intact
    forged = altered(store.rows[-2], detail=f'{{"last": 1, "number": {store.seq - 1}}}')
    assert not verified([*store.rows[:-2], forged, store.rows[-1]], store.seq).is_intact


async def test_an_entry_that_was_written_late_fills_its_gap():
    """The change script may add an entry behind later ones; its number is then not told."""
    store = MemoryRows()
    writer = Writer(store)
    writer.history(10)
    kid = writer.write("kid0000000000777", Action.ISSUE).kid
    late = store.rows.pop()
    writer.history(5)
    store.append(Row(f"{store.seq}-1", late.fields))
    writer.versions[kid] = position(late.id)[0]
    writer.write(kid)
    assert checked(store).is_intact
    await Sealer(store, KEYS, FakeClock(), "s").seal()
    assert checked(store).is_intact
    store.append(Row(f"{store.seq}-3", late.fields))
    assert not checked(store).is_intact


async def test_the_entries_of_a_deleted_key_leave_their_hashes():
    """A trail stays intact when a key is deleted, and everything else in it stays protected."""
    store, clock = MemoryRows(), FakeClock()
    writer, sealer = Writer(store), Sealer(store, KEYS, clock, "s")
    writer.history(30, keys=4)
    await sealer.seal()
    writer.history(10, keys=4)
    writer.delete(store.rows[0].kid)
    assert checked(store).is_intact
    await sealer.seal()  # some of the removed entries were sealed before, some were not
    writer.history(10, keys=4)
    writer.delete(store.rows[0].kid)
    await Sealer(store, KEYS, clock, "two").seal()
    assert checked(store).is_intact
    for at in range(len(store.rows)):
        rows = [*store.rows[:at], *store.rows[at + 1 :]]
        assert not verified(rows, store.seq, store.last_id).is_intact, store.rows[at].id
    deletion = next(i for i, row in enumerate(store.rows) if row.fields["action"] == "delete")
    forged = with_detail(store.rows[deletion], entries={})
    rows = [*store.rows[:deletion], forged, *store.rows[deletion + 1 :]]
    assert not verified(rows, store.seq).is_intact


async def test_a_key_that_was_made_and_deleted_between_two_checkpoints():
    """Its entries were never sealed. Their hashes are, by the next checkpoint."""
    store = MemoryRows()
    writer, sealer = Writer(store), Sealer(store, KEYS, FakeClock(), "s")
    writer.history(5)
    await sealer.seal()
    kid = writer.write("kid0000000000555", Action.ISSUE).kid
    writer.history(2)
    writer.write(kid)
    writer.delete(kid)
    await sealer.seal()
    writer.history(2)
    await sealer.seal()
    assert checked(store).is_intact


async def test_a_pepper_that_is_missing_is_told():
    """Without the pepper of a mark the row cannot be checked, which is not the same as intact."""
    store = await sealed_history()
    report = verified(store.rows, keys=TrailKeys({"2": b"x" * 32}))
    assert {found.problem for found in report.findings} == {Problem.UNREADABLE}
    assert len(report.findings) == len(store.rows)


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 25), st.integers(0, 5))
async def test_no_honest_history_is_suspected(chance: random.Random, changes: int, rounds: int):
    """Any changes by two writers, sealed now and then by one of two sealers, are clean."""
    store, clock = MemoryRows(), FakeClock()
    versions: dict[str, int] = {}
    writers = [Writer(store, seed=1), Writer(store, seed=2)]
    sealers = [Sealer(store, KEYS, clock, "one"), Sealer(store, KEYS, clock, "two")]
    for writer in writers:
        writer.versions = versions
    for _ in range(rounds):
        for _ in range(chance.randrange(changes)):
            chance.choice(writers).history(1, keys=4)
            if versions and chance.random() < 0.1:
                chance.choice(writers).delete(chance.choice(sorted(versions)))
        await chance.choice(sealers).seal()
        assert checked(store).is_intact


@settings(max_examples=100, deadline=None)
@given(st.data())
async def test_any_single_edit_of_sealed_rows_is_found(data: st.DataObject):
    """Removing, altering, copying or swapping any rows at all is found."""
    store = await sealed_history_again()
    rows, length = store.rows, len(store.rows)
    at, other = data.draw(st.integers(0, length - 1)), data.draw(st.integers(0, length - 1))
    match data.draw(st.sampled_from(["remove", "alter", "copy", "swap"])):
        case "remove":
            rows.pop(at)
        case "alter":
            name = data.draw(st.sampled_from(sorted(rows[at].fields)))
            rows[at] = altered(rows[at], **{name: rows[at].fields[name] + "0"})
        case "copy":
            number, part = position(rows[at].id)
            rows.insert(at + 1, Row(f"{number}-{part + 1}", rows[other].fields))
        case "swap":
            if rows[at].fields == rows[other].fields:
                return
            swap(rows, at, other)
    assert not checked(store).is_intact
