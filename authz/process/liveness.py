"""Decide whether a child hangs, by the questions that it leaves unanswered.

Rules:
1. Only a child that has answered since its start can hang. On a busy machine a start takes long.
2. The child gets QUESTIONS patient questions, so a busy child has far longer than one look.
3. A question counts only if it waited for its whole time. If it fails sooner, for example because
   the socket refuses, then no process hangs.
4. A question that ended late does not count: the asking process was itself late or suspended, and
   the child probably as well.
"""

from dataclasses import dataclass, replace
from typing import Final

ASKING_SECONDS: Final = 1.0  # for a question to a child that answered the last one
HANG_SECONDS: Final = 30.0  # without an answer, after which a child hangs
QUESTIONS: Final = 3  # that share this time; one pause of the machine spoils only one
LATE_SECONDS: Final = 1.0  # by which a question may end late and still count


@dataclass(frozen=True, slots=True)
class Liveness:
    """The answers of one child since its start.

    unanswered: questions in a row that count, the first of them without patience.
    """

    hang_seconds: float = HANG_SECONDS
    has_answered: bool = False
    unanswered: int = 0

    @property
    def is_silent(self) -> bool:
        """Whether the next question is a patient one. Its answer comes too late for readiness."""
        return self.unanswered > 0

    @property
    def seconds(self) -> float:
        """The time that the next question gives the child."""
        return self.hang_seconds / QUESTIONS if self.is_silent else ASKING_SECONDS

    @property
    def hangs(self) -> bool:
        """Whether the child left one question and then QUESTIONS patient ones unanswered."""
        return self.unanswered > QUESTIONS

    def after(self, *, answers: bool, took: float) -> "Liveness":
        """Return the state after the next question. took: seconds until its answer or failure."""
        if answers:
            return replace(self, has_answered=True, unanswered=0)
        is_whole = self.seconds <= took <= self.seconds + LATE_SECONDS
        if not (self.has_answered and is_whole):
            return self
        return replace(self, unanswered=self.unanswered + 1)
