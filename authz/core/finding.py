"""Findings of an inspection, such as `authz doctor`."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """The severity of a finding."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a report: the check, the finding, and the remedy."""

    level: Level
    check: str
    found: str
    advice: str = ""
