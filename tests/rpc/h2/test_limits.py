"""Budgets and the hold: how much a client may use up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.events import Event
from authz.rpc.h2.frames import Code, ConnectionFault
from authz.rpc.h2.limits import ALLOWANCES, Allowance, Budget, FloodBudgets, Hold
from tests.support.fakes import RecordingProbe

steps = st.tuples(st.integers(0, 5), st.floats(0, 10), st.integers(0, 20))


@given(st.lists(steps, max_size=30))
def test_a_budget_is_a_bucket_that_time_and_calls_fill(taken):
    """The bucket of a model, step by step, until it is overdrawn."""
    allowance = Allowance(burst=10, per_second=2, per_call=1)
    budget, now, calls, left = Budget(allowance, 0.0), 0.0, 0, 10.0
    for cost, pause, answered in taken:
        now, calls = now + pause, calls + answered
        left = min(10.0, left + pause * 2 + answered) - cost
        assert budget.spend(cost, now, calls) == (left >= -1e-9)
        if left < 0:
            return


def test_who_takes_all_it_can_get_leaves_as_much_to_others():
    """A half for the first, then a half of what is left."""
    hold, held = Hold(100), [0, 0, 0]
    for connection in range(3):
        while hold.take(held[connection], 1):
            held[connection] += 1
    assert held == [50, 25, 13]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-60, 60)), max_size=60))
def test_the_hold_is_never_overdrawn(moves):
    """Whatever is taken and given back, by whoever, and all of it can be had again."""
    hold, held = Hold(100), [0, 0, 0, 0]
    for connection, size in moves:
        if size >= 0 and hold.take(held[connection], size):
            held[connection] += size
        elif size < 0:
            back = min(-size, held[connection])
            hold.give(back)
            held[connection] -= back
        assert sum(held) <= 100
    hold.give(sum(held))
    assert hold.take(0, 100)


@pytest.mark.parametrize("event", ALLOWANCES)
def test_patience_ends_with_a_count_and_a_calm_word(event):
    """ENHANCE_YOUR_CALM, and the operator can see which flood it was."""
    probe = RecordingProbe()
    patience = FloodBudgets(probe, now=0.0)
    for _ in range(ALLOWANCES[event].burst):
        patience.spend(event)
    with pytest.raises(ConnectionFault) as ended:
        patience.spend(event)
    assert ended.value.code is Code.ENHANCE_YOUR_CALM
    assert probe.events == {event: 1}


@pytest.mark.parametrize("event", ALLOWANCES)
def test_tolerance_is_so_many_times_the_patience(event):
    """Half of it ends after half as much."""
    patience = FloodBudgets(RecordingProbe(), now=0.0, tolerance=0.5)
    for _ in range(ALLOWANCES[event].burst // 2):
        patience.spend(event)
    with pytest.raises(ConnectionFault):
        patience.spend(event)


@pytest.mark.parametrize("event", ALLOWANCES)
def test_patience_is_endless_with_who_asks_something(event):
    """As much as each call allows, however many calls there are."""
    patience = FloodBudgets(RecordingProbe(), now=0.0)
    for _ in range(20_000):
        patience.answered += 1
        patience.spend(event, ALLOWANCES[event].per_call)


def test_floods_are_counted_apart():
    """Three kinds, three names."""
    assert set(ALLOWANCES) == {
        Event.H2_RESET_FLOOD,
        Event.H2_CONTROL_FLOOD,
        Event.H2_EMPTY_FLOOD,
    }
