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
    """One line of a report: the check, the finding, and the remedy, which is empty for OK."""

    level: Level
    check: str
    found: str
    advice: str = ""


def ok(check: str, found: str) -> Finding:
    """Return a finding that needs no remedy."""
    return Finding(Level.OK, check, found)


def warn(check: str, found: str, advice: str) -> Finding:
    """Return a warning with its remedy."""
    return Finding(Level.WARN, check, found, advice)


def fail(check: str, found: str, advice: str) -> Finding:
    """Return a failure with its remedy."""
    return Finding(Level.FAIL, check, found, advice)
