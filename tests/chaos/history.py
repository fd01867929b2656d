"""The history of a run: every change and every answer, with times of one clock.

Times are seconds of the boot clock, which all processes of a machine share.
"""

import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")
_ANSWER = struct.Struct("=IBdBd")


class Outcome(StrEnum):
    """The answer of a sidecar."""

    ALLOW = "allow"
    STALE_ALLOW = "stale_allow"
    REVOKED = "revoked"
    DISABLED = "disabled"
    STALE_DISABLED = "stale_disabled"
    NO_SCOPE = "no_scope"
    STALE_NO_SCOPE = "stale_no_scope"
    ROTATED = "rotated"
    STALE_ROTATED = "stale_rotated"
    UNKNOWN = "unknown"
    UNAVAILABLE = "unavailable"
    OTHER = "other"


class State(StrEnum):
    """The state of a key in the store."""

    ABSENT = "absent"
    ACTIVE = "active"
    DISABLED = "disabled"
    NARROWED = "narrowed"  # it lacks the scope that it was issued with
    ROTATED = "rotated"  # away: it has another secret
    REVOKED = "revoked"


_CODES = {outcome: code for code, outcome in enumerate(Outcome)}
_OUTCOMES = list(Outcome)


def now() -> float:
    """Return the time."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Answer:
    """One request and its answer, with times. path: its number in PATHS."""

    key: int
    sent: float
    outcome: Outcome
    answered: float
    path: int = 0


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """A change: after `asked` and at the latest at `confirmed` one of `states` holds.

    T: State for a key, Rules for the settings of a sidecar. confirmed None: it is unknown whether
    the change was made.
    """

    asked: float
    confirmed: float | None
    states: frozenset[T]


def possible_after(changes: Sequence[Change[T]], since: float, until: float) -> tuple[set[T], bool]:
    """Return every state that may have held at some time in this period.

    Also whether none of the changes may have been made at its beginning.
    """
    found: set[T] = set()
    ends = float("inf")  # when a later change was certainly there
    for change in reversed(changes):
        if change.asked <= until and ends >= since:
            found |= change.states
        if change.confirmed is not None:
            ends = min(ends, change.confirmed)
    return found, ends >= since


@dataclass(slots=True)
class Key:
    """A key, or a token of it, and all changes to the key, in the order in which they ended."""

    kid: str
    text: str = field(repr=False)
    grace: float  # seconds
    changes: list[Change[State]] = field(default_factory=list)
    acknowledged: float = float("inf")  # since when every sidecar is known to know its end
    over: float = float("inf")  # since when, it was said, no sidecar may act on what was before
    is_token: bool = False
    partition: int = 0

    def token(self, text: str) -> "Key":
        """Return a token of this key. It shares the changes."""
        more = {"is_token": True, "partition": self.partition}
        return Key(self.kid, text, self.grace, self.changes, **more)

    def record(self, asked: float, confirmed: float | None, *states: State) -> None:
        """Add a change. Several states mean that it is unknown which one holds."""
        self.changes.append(Change(asked, confirmed, frozenset(states)))

    @property
    def state(self) -> State | None:
        """The current state, or None if unknown."""
        last = self.changes[-1]
        return None if last.confirmed is None or len(last.states) > 1 else min(last.states)

    def possible(self, since: float, until: float) -> set[State]:
        """Return every state that the key may have had at some time in this period."""
        found, is_first = possible_after(self.changes, since, until)
        return found | ({State.ABSENT} if is_first else set())


class Answers:
    """The file with the answers of one sidecar."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def add(
        self, key: int, sent: float, outcome: Outcome, answered: float, *, path: int = 0
    ) -> None:
        """Add an answer. path: of the request, as its number in PATHS."""
        self._file.write(_ANSWER.pack(key, path, sent, _CODES[outcome], answered))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_answers(path: Path) -> Iterator[Answer]:
    """Yield the answers of a sidecar from its file."""
    content = path.read_bytes()
    whole = len(content) - len(content) % _ANSWER.size  # one that was killed may end half way
    for key, place, sent, code, answered in _ANSWER.iter_unpack(content[:whole]):
        yield Answer(key, sent, _OUTCOMES[code], answered, place)
