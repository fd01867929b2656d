"""A child hangs if it leaves probes unanswered that had their whole time."""

import pytest

from authz.process.liveness import (
    HANG_SECONDS,
    LATE_SECONDS,
    LONG_PROBES,
    PROBE_SECONDS,
    Liveness,
)

ANSWERED = Liveness().after(answers=True, took=0.01)


def silent(state: Liveness, probes: int) -> Liveness:
    """Return the state after this number of probes that nobody answered in their time."""
    for _ in range(probes):
        state = state.after(answers=False, took=state.seconds)
    return state


def test_a_child_hangs_after_one_probe_and_then_all_long_ones() -> None:
    """The long probes share HANG_SECONDS (30 s)."""
    assert ANSWERED.seconds == PROBE_SECONDS
    assert silent(ANSWERED, 1).seconds == HANG_SECONDS / LONG_PROBES
    assert not silent(ANSWERED, LONG_PROBES).hangs
    assert silent(ANSWERED, LONG_PROBES + 1).hangs


def test_an_answer_ends_the_silence() -> None:
    """A child that answers one of the long probes gets all of them again."""
    late = silent(ANSWERED, LONG_PROBES).after(answers=True, took=9.9)
    assert late == ANSWERED
    assert not silent(late, LONG_PROBES).hangs


def test_a_child_that_never_answered_does_not_hang() -> None:
    """Its start may take long, and it gets no long probe."""
    assert silent(Liveness(), 1000) == Liveness()


@pytest.mark.parametrize("state", [ANSWERED, silent(ANSWERED, LONG_PROBES)])
def test_a_probe_that_ended_late_does_not_count(state: Liveness) -> None:
    """The probing process was late or suspended, or the machine was."""
    most = state.seconds + LATE_SECONDS
    assert state.after(answers=False, took=most) != state
    assert state.after(answers=False, took=most + 0.01) == state


@pytest.mark.parametrize("state", [ANSWERED, silent(ANSWERED, LONG_PROBES)])
def test_a_probe_that_fails_before_its_time_does_not_count(state: Liveness) -> None:
    """A child that ends has closed its socket, which refuses at once."""
    assert state.after(answers=False, took=0.001) == state


def test_the_time_is_an_argument() -> None:
    """The time stays through probes and answers."""
    state = Liveness(6.0).after(answers=True, took=0.01)
    assert silent(state, 1).seconds == 6.0 / LONG_PROBES
