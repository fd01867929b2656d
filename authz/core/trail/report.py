"""The result of a verification of the audit trail."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MAX_FINDINGS: Final = 200


class Problem(StrEnum):
    """The kinds of findings."""

    ALTERED = "altered"  # a row is not as its writer made it
    MISSING = "missing"  # a change, or a row about the trail, is not there
    TRIMMED = "trimmed"  # the beginning of the trail is not there
    MISPLACED = "misplaced"  # a row is not where its writer put it, or it was put in
    UNMARKED = "unmarked"  # an older version wrote the row, or somebody else
    BROKEN = "broken"  # the rows before a checkpoint are not those that it sealed
    WENT_BACK = "went_back"  # a confirmed checkpoint had vanished
    UNSEALED = "unsealed"  # no checkpoint was made for longer than is allowed
    UNREADABLE = "unreadable"  # it cannot be checked here


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. where: the id of a row, or the first of them."""

    problem: Problem
    where: str
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """The result. `findings` has the first MAX_FINDINGS (200), `more` is the number of others.

    rows: that were read. last: id of the last one. sealed_until: id of the last checkpoint, at
    `sealed_at` (ms since the epoch); both empty or 0 if there is none. unsealed: rows after it,
    the oldest at `unsealed_since`. unmarked: rows from before the upgrade, up to the number
    `unmarked_until`. checkpoints: how many have been checked.
    """

    findings: tuple[Finding, ...]
    more: int
    rows: int
    last: str
    checkpoints: int
    sealed_until: str
    sealed_at: int
    unsealed: int
    unsealed_since: int
    unmarked: int
    unmarked_until: int

    @property
    def is_intact(self) -> bool:
        """Whether nothing was found."""
        return not self.findings
