"""What happened in a run: every change and every answer, with times of one clock.

Times are seconds of the boot clock, which all processes of a machine share.
"""

import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

_ANSWER = struct.Struct("=IdBd")


class Outcome(StrEnum):
    """What a sidecar answered."""

    ALLOW = "allow"
    STALE_ALLOW = "stale_allow"
    REVOKED = "revoked"
    DISABLED = "disabled"
    STALE_DISABLED = "stale_disabled"
    UNKNOWN = "unknown"
    UNAVAILABLE = "unavailable"
    OTHER = "other"


class State(StrEnum):
    """What a key is, as far as the store knows."""

    ABSENT = "absent"
    ACTIVE = "active"
    DISABLED = "disabled"
    REVOKED = "revoked"


_CODES = {outcome: code for code, outcome in enumerate(Outcome)}
_OUTCOMES = list(Outcome)


def now() -> float:
    """The time."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Answer:
    """One request: sent, answered."""

    key: int
    sent: float
    outcome: Outcome
    answered: float


@dataclass(frozen=True, slots=True)
class Change:
    """From some moment after `asked`, at `confirmed` at the latest, the key is in one of `states`.

    confirmed None: nobody knows whether it was made.
    """

    asked: float
    confirmed: float | None
    states: frozenset[State]


@dataclass(slots=True)
class Key:
    """A key and everything that was done to it, in the order in which it was concluded."""

    kid: str
    text: str = field(repr=False)
    grace: float  # seconds
    changes: list[Change] = field(default_factory=list)
    acknowledged: float = float("inf")  # since when every sidecar is known to know its end
    over: float = float("inf")  # since when, it was said, no sidecar may act on what was before

    def record(self, asked: float, confirmed: float | None, *states: State) -> None:
        """Something was done. Several states: nobody knows which of them it is since."""
        self.changes.append(Change(asked, confirmed, frozenset(states)))

    @property
    def state(self) -> State | None:
        """What it is now; None when nobody knows."""
        last = self.changes[-1]
        return None if last.confirmed is None or len(last.states) > 1 else min(last.states)

    def possible(self, since: float, until: float) -> set[State]:
        """Every state that it may have been in at some moment of this time."""
        found: set[State] = set()
        ends = float("inf")  # when a later change was certainly there
        for change in reversed(self.changes):
            if change.asked <= until and ends >= since:
                found |= change.states
            if change.confirmed is not None:
                ends = min(ends, change.confirmed)
        return found | ({State.ABSENT} if ends >= since else set())


class Answers:
    """Answers of one sidecar, in a file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def add(self, key: int, sent: float, outcome: Outcome, answered: float) -> None:
        """One more."""
        self._file.write(_ANSWER.pack(key, sent, _CODES[outcome], answered))

    def close(self) -> None:
        """There are no more."""
        self._file.close()


def read_answers(path: Path) -> Iterator[Answer]:
    """What a sidecar has written."""
    content = path.read_bytes()
    whole = len(content) - len(content) % _ANSWER.size  # one that was killed may end half way
    for key, sent, code, answered in _ANSWER.iter_unpack(content[:whole]):
        yield Answer(key, sent, _OUTCOMES[code], answered)
