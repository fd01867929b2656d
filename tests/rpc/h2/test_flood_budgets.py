"""Flood budgets, and the memory for incomplete request bodies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.events import Event
from authz.rpc.h2.flood_budgets import (
    BUDGET_SIZES,
    MAX_PAUSE,
    SECONDS_PER_UNIT,
    BudgetSize,
    FloodBudget,
    FloodBudgets,
)
from authz.rpc.h2.frames import ConnectionFault, ErrorCode
from authz.rpc.h2.request_bodies import BodyMemory
from tests.support.fakes import RecordingProbe

steps = st.tuples(st.integers(0, 5), st.floats(0, 10), st.integers(0, 20))


@given(st.lists(steps, max_size=30))
def test_a_budget_is_a_bucket_that_time_and_calls_fill(taken):
    """A budget behaves like a model of a token bucket until it is overdrawn."""
    allowance = BudgetSize(burst=10, per_second=2, per_call=1)
    budget, now, calls, left = FloodBudget(allowance, 0.0), 0.0, 0, 10.0
    for cost, pause, answered in taken:
        now, calls = now + pause, calls + answered
        left = min(10.0, left + pause * 2 + answered) - cost
        assert (budget.spend(cost, now, calls) > 1e-9) == (left < -1e-9)
        if left < 0:
            return


def test_a_connection_that_takes_all_it_can_get_leaves_as_much_to_others():
    """The first connection gets a half, the next a half of the rest."""
    memory, held = BodyMemory(100), [0, 0, 0]
    for connection in range(3):
        while memory.take(held[connection], 1):
            held[connection] += 1
    assert held == [50, 25, 13]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-60, 60)), max_size=60))
def test_body_memory_is_never_overdrawn(moves):
    """After any takes and returns, all memory can be taken again."""
    memory, held = BodyMemory(100), [0, 0, 0, 0]
    for connection, size in moves:
        if size >= 0 and memory.take(held[connection], size):
            held[connection] += size
        elif size < 0:
            back = min(-size, held[connection])
            memory.give_back(back)
            held[connection] -= back
        assert sum(held) <= 100
    memory.give_back(sum(held))
    assert memory.take(0, 100)


@pytest.mark.parametrize("event", BUDGET_SIZES)
def test_a_used_up_budget_is_counted_and_ends_the_connection(event):
    """The fault is ENHANCE_YOUR_CALM, and the count names the kind of flood."""
    probe = RecordingProbe()
    budgets = FloodBudgets(probe, now=0.0)
    for _ in range(BUDGET_SIZES[event].burst):
        budgets.spend(event)
    with pytest.raises(ConnectionFault) as ended:
        budgets.spend(event)
    assert ended.value.code is ErrorCode.ENHANCE_YOUR_CALM
    assert probe.events == {event: 1}


@pytest.mark.parametrize("event", BUDGET_SIZES)
def test_a_trusted_client_pays_each_missing_unit_with_a_pause(event):
    """The pause is bounded, counted once, and taken once."""
    probe = RecordingProbe()
    budgets = FloodBudgets(probe, now=0.0, trusted=True)
    budgets.spend(event, round(BUDGET_SIZES[event].burst))
    assert budgets.take_pause() == 0
    for _ in range(100):
        budgets.spend(event)
    assert budgets.take_pause() == pytest.approx(100 * SECONDS_PER_UNIT)
    assert budgets.take_pause() == 0
    assert probe.events == {event: 1}
    budgets.spend(event, 10**9)
    assert budgets.take_pause() == MAX_PAUSE


@pytest.mark.parametrize("event", BUDGET_SIZES)
def test_tolerance_is_a_factor_on_each_budget(event):
    """A tolerance of one half ends a connection after half as many frames."""
    budgets = FloodBudgets(RecordingProbe(), now=0.0, tolerance=0.5)
    for _ in range(BUDGET_SIZES[event].burst // 2):
        budgets.spend(event)
    with pytest.raises(ConnectionFault):
        budgets.spend(event)


@pytest.mark.parametrize("event", BUDGET_SIZES)
def test_answered_calls_refill_a_budget(event):
    """A client that makes calls may send frames without end."""
    budgets = FloodBudgets(RecordingProbe(), now=0.0)
    for _ in range(20_000):
        budgets.answered += 1
        budgets.spend(event, BUDGET_SIZES[event].per_call)


def test_floods_are_counted_apart():
    """Each of the three kinds has its own count."""
    assert set(BUDGET_SIZES) == {
        Event.H2_RESET_FLOOD,
        Event.H2_CONTROL_FLOOD,
        Event.H2_EMPTY_FLOOD,
    }
