"""Decide whether a child hangs, by the probes that it leaves unanswered.

Rules:
1. Only a child that has answered since its start can hang. On a busy machine a start takes long.
2. The child gets LONG_PROBES long probes, so a busy child has far longer than one probe.
3. A probe counts only if it waited for its whole time. If it fails sooner, for example because
   the socket refuses, then no process hangs. A full queue of the socket is waited for.
4. A probe that ended late does not count: the probing process was itself late or suspended, and
   the child probably as well.
"""

from dataclasses import dataclass, replace
from typing import Final

PROBE_SECONDS: Final = 1.0  # for a child that answered the last probe
HANG_SECONDS: Final = 30.0  # without an answer, after which a child hangs
LONG_PROBES: Final = 3  # that share this time; one pause of the machine spoils only one
LATE_SECONDS: Final = 1.0  # by which a probe may end late and still count


@dataclass(frozen=True, slots=True)
class Liveness:
    """The answers of one child since its start.

    unanswered: probes in a row that count, the first of them a short one.
    """

    hang_seconds: float = HANG_SECONDS
    has_answered: bool = False
    unanswered: int = 0

    @property
    def is_silent(self) -> bool:
        """Whether the next probe is a long one. Its answer comes too late for readiness."""
        return self.unanswered > 0

    @property
    def seconds(self) -> float:
        """The time that the next probe gives the child."""
        return self.hang_seconds / LONG_PROBES if self.is_silent else PROBE_SECONDS

    @property
    def hangs(self) -> bool:
        """Whether the child left one probe and then LONG_PROBES long ones unanswered."""
        return self.unanswered > LONG_PROBES

    def after(self, *, answers: bool, took: float) -> "Liveness":
        """Return the state after the next probe. took: seconds until its answer or failure."""
        if answers:
            return replace(self, has_answered=True, unanswered=0)
        is_whole = self.seconds <= took <= self.seconds + LATE_SECONDS
        if not (self.has_answered and is_whole):
            return self
        return replace(self, unanswered=self.unanswered + 1)
