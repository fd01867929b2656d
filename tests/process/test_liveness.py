"""A child hangs if it leaves questions unanswered that had their whole time."""

import pytest

from authz.process.liveness import (
    ASKING_SECONDS,
    HANG_SECONDS,
    LATE_SECONDS,
    QUESTIONS,
    Liveness,
)

ANSWERED = Liveness().after(answers=True, took=0.01)


def silent(state: Liveness, questions: int) -> Liveness:
    """Return the state after this number of questions that nobody answered in their time."""
    for _ in range(questions):
        state = state.after(answers=False, took=state.seconds)
    return state


def test_a_child_hangs_after_one_question_and_then_all_patient_ones() -> None:
    """The patient questions share HANG_SECONDS (30 s)."""
    assert ANSWERED.seconds == ASKING_SECONDS
    assert silent(ANSWERED, 1).seconds == HANG_SECONDS / QUESTIONS
    assert not silent(ANSWERED, QUESTIONS).hangs
    assert silent(ANSWERED, QUESTIONS + 1).hangs


def test_an_answer_ends_the_silence() -> None:
    """A child that answers one of the patient questions gets all of them again."""
    late = silent(ANSWERED, QUESTIONS).after(answers=True, took=9.9)
    assert late == ANSWERED
    assert not silent(late, QUESTIONS).hangs


def test_a_child_that_never_answered_does_not_hang() -> None:
    """Its start may take long, and nobody asks it a patient question."""
    assert silent(Liveness(), 1000) == Liveness()


@pytest.mark.parametrize("state", [ANSWERED, silent(ANSWERED, QUESTIONS)])
def test_a_question_that_ended_late_does_not_count(state: Liveness) -> None:
    """The asking process was late or suspended, or the machine was."""
    most = state.seconds + LATE_SECONDS
    assert state.after(answers=False, took=most) != state
    assert state.after(answers=False, took=most + 0.01) == state


@pytest.mark.parametrize("state", [ANSWERED, silent(ANSWERED, QUESTIONS)])
def test_a_question_that_fails_before_its_time_does_not_count(state: Liveness) -> None:
    """A child that ends has closed its socket, which refuses at once."""
    assert state.after(answers=False, took=0.001) == state


def test_the_time_is_an_argument() -> None:
    """The time stays through questions and answers."""
    state = Liveness(6.0).after(answers=True, took=0.01)
    assert silent(state, 1).seconds == 6.0 / QUESTIONS
