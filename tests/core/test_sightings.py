"""Sightings: each use is counted once, the first at once, in bounded memory."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.audit import Action
from authz.core.sightings import (
    MAX_BUDGETS,
    MAX_OPEN,
    MAX_TAKEN,
    PAUSE_MS,
    Sighting,
    Sightings,
    sighting,
)

KIDS = ["A" * 16, "B" * 16]
ONE = Sighting(Action.CANARY, KIDS[0], "192.0.2.0/24", 1_000, 3)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("use"), st.sampled_from(KIDS), st.integers(0, 300)),
        st.tuples(st.just("take"), st.integers(-PAUSE_MS, 2 * PAUSE_MS), st.booleans()),
    ),
    max_size=400,
)


def note(sightings, kid, at, address="192.0.2.7"):
    """Note a use of a canary key."""
    sightings.note(Action.CANARY, kid, address, at)


def test_the_first_use_is_due_at_once():
    """The next uses of the same key and network come together, one minute later."""
    sightings = Sightings()
    note(sightings, KIDS[0], 1_000)
    note(sightings, KIDS[1], 1_000)
    assert [one.uses for one in sightings.take(1_000)] == [1, 1]
    for at in range(2_000, 7_000, 1_000):
        note(sightings, KIDS[0], at, "192.0.2.99")
    assert sightings.take(7_000) == []
    (later,) = sightings.take(1_000 + PAUSE_MS)
    assert (later.kid, later.network, later.uses) == (KIDS[0], "192.0.2.0/24", 5)
    assert sightings.take(1_000 + 2 * PAUSE_MS) == []


@given(steps=STEPS)
def test_each_use_is_taken_once(steps):
    """However many networks there are, failed sends and clocks that go back lose no use."""
    sightings, noted, taken, now = Sightings(), Counter(), Counter(), 10**12
    for step in steps:
        if step[0] == "use":
            _, kid, where = step
            note(sightings, kid, now, f"10.0.{where % 256}.1" if where else "a socket")
            noted[kid] += 1
            continue
        now += step[1]
        for one in sightings.take(now):
            if step[2]:
                sightings.put_back(one)
            else:
                taken[one.kid] += one.uses
    for _ in range(4):
        now += PAUSE_MS + 1
        for one in sightings.take(now):
            taken[one.kid] += one.uses
    assert +taken == +noted
    assert sightings.take(now + 3 * PAUSE_MS) == []


def test_memory_is_bounded():
    """Of a flood from many networks, at most MAX_OPEN of a key are told apart."""
    sightings = Sightings()
    for number in range(50_000):
        note(sightings, KIDS[0], 1, f"10.{number // 256}.{number % 256}.1")
    found = sightings.take(1)
    assert len(found) <= MAX_OPEN + 1
    assert sum(one.uses for one in found) == 50_000


def test_texts_of_the_store():
    """A sighting comes back from its texts."""
    assert sighting(ONE.fields()) == ONE


@pytest.mark.parametrize(
    "wrong",
    [
        {"action": "revoke"},
        {"kid": "A" * 15},
        {"kid": "../../etc/passwd1"},
        {"network": "192.0.2.7"},
        {"network": "<script>"},
        {"network": "\udcff/24"},  # a byte of the store that is not UTF-8
        {"at": "-1"},
        {"at": "1" * 99},
        {"uses": "1e9"},
        {"uses": ""},
    ],
)
def test_garbled_texts(wrong):
    """A text that no sidecar writes is no sighting."""
    assert sighting(ONE.fields() | wrong) is None
    assert (
        sighting({name: text for name, text in ONE.fields().items() if name not in wrong}) is None
    )


MARK = Sighting(Action.BUDGET, KIDS[0], "", 1_000, 1, "tenant:usd-month 80 1772323200000")


def test_marks_of_budgets_are_due_at_once():
    """Each mark is taken once, is taken again if it was put back, and their number is bounded."""
    sightings = Sightings()
    sightings.note_budget(KIDS[0], "tenant:usd-month", 80, 1772323200000, 1_000)
    note(sightings, KIDS[1], 1_000)
    taken = sightings.take(1_000)
    assert MARK in taken
    assert len(taken) == 2
    assert sightings.take(1_000) == []
    sightings.put_back(MARK)
    assert sightings.take(1_001) == [MARK]


def test_marks_of_budgets_leave_room_for_heartbeats():
    """Marks that cannot be sent, as without the right, are bounded, and so is each attempt."""
    sightings = Sightings()
    for number in range(MAX_BUDGETS + 10):
        sightings.note_budget(KIDS[0], "month", 80, number, 1_000)
    taken = set()
    for _ in range(MAX_BUDGETS // MAX_TAKEN):
        found = sightings.take(1_000)
        assert len(found) == MAX_TAKEN
        taken.update(found)
        for one in found:
            sightings.put_back(one)
    assert len(taken) == MAX_BUDGETS  # none waits for ever behind the others


def test_a_mark_of_a_budget_goes_through_the_store():
    """The texts in the store give the same mark, and its audit entry names the budget."""
    assert sighting(MARK.fields()) == MARK
    assert MARK.event("ops", 2_000).detail == {
        "key": KIDS[0],
        "seen_at": 1_000,
        "budget": "tenant:usd-month",
        "percent": 80,
        "ends_at": 1772323200000,
    }


@pytest.mark.parametrize(
    "about", ["", "month 80", "month 81 0", "month 80 0 0", "Month 80 0", "a\nb 80 0", "x" * 99]
)
def test_marks_that_are_none(about):
    """Other texts are refused, and a canary key has no budget."""
    assert sighting({**MARK.fields(), "about": about}) is None
    assert not about or sighting({**ONE.fields(), "about": about}) is None


def test_all_that_waits_can_be_released():
    """Another object goes on with uses that wait for the end of their minute, and budgets."""
    sightings, other = Sightings(), Sightings()
    note(sightings, KIDS[0], 1_000)
    assert len(sightings.take(1_000)) == 1
    note(sightings, KIDS[0], 2_000)
    sightings.note_budget(KIDS[1], "usd-month", 80, 0, 2_000)
    for one in sightings.release():
        other.put_back(one)
    assert sightings.take(1_000 + PAUSE_MS) == []
    assert {one.action for one in other.take(2_000)} == {Action.CANARY, Action.BUDGET}
