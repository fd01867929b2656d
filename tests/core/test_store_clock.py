"""StoreClock: its window holds both clocks, whatever they show."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.store_clock import ClockOffset, StoreClock, Window

YEARS = 10 * 365 * 86_400_000
NOW = 1_750_000_000_000


@given(
    offset=st.integers(-YEARS, YEARS),
    to_store=st.floats(0, 0.9),
    back=st.floats(0, 0.9),
    elapsed=st.floats(0, 86_400),
    drift=st.floats(-0.0009, 0.0009),
)
def test_the_window_holds_the_stores_clock(offset, to_store, back, elapsed, drift):
    """The window holds the time that the store's clock shows, and ours, for any round trip."""
    clock, sent = StoreClock(1.0), 5000.0
    reading = NOW + offset + to_store * 1000
    clock.measured(int(reading), sent, sent + to_store + back)
    monotonic = sent + to_store + back + elapsed
    store = reading + (back + elapsed) * 1000 * (1 + drift)

    window = clock.window(NOW, monotonic)

    assert window.earliest <= min(store, NOW)
    assert window.latest >= max(store, NOW)


def test_the_window_is_narrow_when_the_clocks_agree():
    """Right after a heartbeat with a round trip of 1 ms the window spans at most 4 ms."""
    clock = StoreClock(1.0)
    clock.measured(NOW, 10.0, 10.001)
    window = clock.window(NOW, 10.001)
    assert window.latest - window.earliest <= 4


def test_before_the_first_heartbeat():
    """Before the first heartbeat the window is our clock, and no offset is known."""
    clock = StoreClock(1.0)
    assert clock.window(NOW, 1.0) == Window(NOW, NOW)
    assert clock.offset(NOW, 1.0) is None


@pytest.mark.parametrize("ahead", [-86_400_000, 0, 86_400_000])
def test_offset(ahead):
    """The bounds of the store's clock minus ours: a reading, and at most a round trip more."""
    clock = StoreClock(1.0)
    clock.measured(NOW + ahead, 10.0, 10.25)
    assert clock.offset(NOW, 10.25) == ClockOffset(ahead, ahead + 252)


def test_a_jump_of_our_clock_is_seen_at_once():
    """The store's clock goes on with the monotonic clock, so the window shows both times."""
    clock = StoreClock(1.0)
    clock.measured(NOW, 10.0, 10.0)
    jumped = NOW - 86_400_000
    window = clock.window(jumped, 11.0)
    assert window.earliest == jumped
    assert NOW + 999 <= window.latest <= NOW + 1004


@given(
    behind=st.integers(-1500, 1500),
    age=st.floats(0, 1),
    round_trip=st.floats(0, 1),
    turn=st.integers(-4000, 4000),
)
def test_clear(behind, age, round_trip, turn):
    """If it is clear, the window within a lease of the heartbeat holds no turn."""
    clock = StoreClock(1.0)
    clock.measured(NOW, 10.0, 10.0 + round_trip)
    monotonic = 10.0 + max(age, round_trip)
    wall = NOW + round((monotonic - 10.0) * 1000) + behind

    if clock.earliest <= wall <= clock.latest < NOW + turn:  # as a hit looks, without a call
        assert clock.is_clear((NOW + turn,), wall)
    if clock.is_clear((NOW + turn,), wall):
        window = clock.window(wall, monotonic)
        assert not window.earliest < NOW + turn <= window.latest


@pytest.mark.parametrize(
    ("ahead", "turn", "clear"),
    [(0, 10_000, True), (0, -10_000, True), (0, 500, False), (-5000, 60_000, False)],
)
def test_far_turns_are_clear(ahead, turn, clear):
    """Turns that are 10 s away are clear while the clocks agree, near ones are not."""
    clock = StoreClock(1.0)
    clock.measured(NOW, 10.0, 10.001)
    assert clock.is_clear((NOW + turn,), NOW + 1 + ahead) is clear
