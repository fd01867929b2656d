"""What an inspection says."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a report: what was looked at, what was found, what to do about it."""

    level: Level
    check: str
    found: str
    advice: str = ""
