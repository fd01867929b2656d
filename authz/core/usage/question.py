"""Questions about usage: a span of time, and how its counts are grouped.

Times are whole slots: a question that begins within a day and asks by day has that whole day.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from authz.core.errors import BadInput
from authz.core.fields import shown
from authz.core.usage.commit import Denial, Sight
from authz.core.usage.completeness import Completeness
from authz.core.usage.counts import FIRST_YEAR, MINUTE_MS, MONTHS, Counts, Field, Level

MAX_SLOTS: Final = 2000  # minutes, hours, days or months of one question
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
DEFAULT_MS: Final = 30 * DAY_MS
LONGEST_HOURS_MS: Final = 7 * DAY_MS  # up to which totals are read by hour


class By(StrEnum):
    """The groups of an answer."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"
    ROUTE = "route"
    STATUS = "status"
    MODEL = "model"


NAMED: Final = frozenset({By.ROUTE, By.STATUS, By.MODEL})
"""The groups that are names. The others are times."""

_MONTH: Final = re.compile(r"\d{4}-(0[1-9]|1[0-2])", re.ASCII)
_LEVELS: Final = {
    By.MODEL: Level.DAY,
    By.MINUTE: Level.MINUTE,
    By.HOUR: Level.HOUR,
    By.DAY: Level.DAY,
    By.MONTH: Level.MONTH,
}
_UNITS: Final = {
    Level.MINUTE: "minutes",
    Level.HOUR: "hours",
    Level.DAY: "days",
    Level.MONTH: "months",
}


@dataclass(frozen=True, slots=True)
class Span:
    """Some slots of a level, all next to each other, oldest first; at least one."""

    level: Level
    slots: range

    @property
    def since(self) -> int:
        """The time at which the first slot begins, in ms since the epoch."""
        return self.level.starts_at(self.slots.start)

    @property
    def until(self) -> int:
        """The time at which the last slot ends, in ms since the epoch."""
        return self.level.starts_at(self.slots.stop)

    @property
    def days(self) -> range:
        """The days, counted since the epoch, that these slots lie in, also in part."""
        return range(self.since // DAY_MS, -(-self.until // DAY_MS))


def default_ms(by: By) -> int:
    """Return the length in ms of a span without a start: 30 days, or 1 hour by minutes."""
    return HOUR_MS if by is By.MINUTE else DEFAULT_MS


def span(since: int, until: int, by: By, *, of_keys: bool) -> Span:
    """Return the slots that hold `since` up to, not including, `until` (ms since the epoch).

    By route or status they are hours, or days for all requests over more than 7 days; by model they
    are days. of_keys: whether the question is about keys, and not about all requests. Raises
    BadInput about `by` for the status of keys, about `since` if it is not before `until` or gives
    more than 2000 slots.
    """
    if of_keys and by is By.STATUS:
        problem = "status is counted over all requests; for a key, use "
        raise BadInput("by", f"{problem}minute, hour, day, month, route or model")
    if until <= since:
        raise BadInput("since", "is not before the end of the span (until)")
    level = _LEVELS.get(by)
    if level is None:
        is_by_hour = of_keys or until - since <= LONGEST_HOURS_MS
        level = Level.HOUR if is_by_hour else Level.DAY
    first, last = (level.slot(at // MINUTE_MS) for at in (since, until - 1))
    slots = range(first, last + 1)
    if len(slots) > MAX_SLOTS:
        raise BadInput(
            "since", f"{len(slots)} {_UNITS[level]} are too many; ask for at most {MAX_SLOTS}"
        )
    return Span(level, slots)


def month_named(field: str, text: str) -> int:
    """Return the number of a month such as `2026-11`, counted since January 1970.

    field: for the error. Raises BadInput if the text is no month from 1970 to 9999.
    """
    if not _MONTH.fullmatch(text) or int(text[:4]) < FIRST_YEAR:
        raise BadInput(field, f"{shown(text)}: a month such as 2026-11")
    return (int(text[:4]) - FIRST_YEAR) * MONTHS + int(text[5:]) - 1


def month_name(month: int) -> str:
    """Return a month as `2026-11`. month: counted since January 1970."""
    year, at = divmod(month, MONTHS)
    return f"{FIRST_YEAR + year}-{at + 1:02d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The answer to a question.

    groups: by the start of a slot in ms since the epoch, or by one of NAMED, in order. keys: how
    many keys were looked at; None if it is about all requests. denials: counts by reason; None if
    several keys were asked for. completeness: of all usage; None if the reader may not see every
    key.
    """

    span: Span
    by: By
    groups: Mapping[int | str, Counts]
    total: Counts
    keys: int | None
    denials: Mapping[str, int] | None
    completeness: Completeness | None


@dataclass(frozen=True, slots=True)
class LatestUse:
    """The latest use of a key. secrets: by id, the latest use and the number of requests.

    denials: the latest ones, newest first.
    """

    latest: Sight | None
    secrets: Mapping[str, tuple[Sight, int]]
    last_30_days: Counts
    denials: Sequence[Denial] = ()


class TopBy(StrEnum):
    """The orders of the keys that are used most."""

    REQUESTS = "requests"
    UNITS = "units"
    DENIED = "denied"

    def number_of(self, counts: Counts) -> int:
        """Return the number that this order compares."""
        if self is TopBy.DENIED:
            return counts[Field.DENIED]
        return counts.units if self is TopBy.UNITS else counts.requests
