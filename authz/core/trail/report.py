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
    """One finding. where: the id of the first row that it is about, or a number of a change.

    Empty if nothing was ever sealed (UNSEALED).
    """

    problem: Problem
    where: str
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """The result. `findings` has the first MAX_FINDINGS (200), `more` is the number of others.

    Times are ms since the epoch, 0 for none; ids are "" for none. rows: how many were read. last:
    id of the last row, which a deletion may have removed. sealed_until: id of the last checkpoint,
    made at `sealed_at`. unsealed: how many rows come after it, the oldest at `unsealed_since`.
    unmarked: how many rows are from before the upgrade, up to the number `unmarked_until`.
    checkpoints: how many were checked.
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
