"""The time that a limit applies to: a sliding window, a calendar period, or all of a key's life."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from authz.core.errors import BadInput
from authz.core.fields import shown

if TYPE_CHECKING:  # most keys have no period of a calendar
    from importlib.resources.abc import Traversable
    from zoneinfo import ZoneInfo

MAX_ANCHOR: Final = 28  # every month has this day
DECEMBER: Final = 12
WEEK, MONTH, YEAR = UNITS = ("week", "month", "year")
FIRST: Final = {WEEK: 0, MONTH: 1, YEAR: 101}  # the anchor that need not be said
WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

# The end of the period of credits, 2200-01-01. It is stored with each counter, so it cannot change.
# A double holds it exactly in microseconds, too, which Lua needs.
NEVER_ENDS_MS: Final = 7_258_118_400_000

# What may follow the @ of each unit.
_BEGIN: Final = {
    WEEK: re.compile("|".join(f"{day}|{day[:3]}" for day in WEEKDAYS), re.ASCII),
    MONTH: re.compile(r"[0-9]{1,3}", re.ASCII),
    YEAR: re.compile(r"[0-9]{2}-[0-9]{2}", re.ASCII),
}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Sliding:
    """Any window of this length, wherever it begins. `name`: the unit in full."""

    text: str
    name: str
    length_ms: int

    def __str__(self) -> str:
        return self.text


SECOND: Final = Sliding("s", "second", 1000)
MINUTE: Final = Sliding("min", "minute", 60_000)
HOUR: Final = Sliding("h", "hour", 3_600_000)
DAY: Final = Sliding("d", "day", 86_400_000)
SLIDING: Final = {window.text: window for window in (SECOND, MINUTE, HOUR, DAY)}


@dataclass(frozen=True, slots=True)
class Calendar:
    """A period of the calendar in `zone`: a day, or a week, month or year that begins at `anchor`.

    anchor: None for a day; the day of a month; of a week 0 (Monday, as in ISO 8601) to 6; of a year
    its month and day as a number, such as 401. All sidecars must see the same periods. So time
    zones come from the tzdata package only, never from files of the machine.
    """

    anchor: int | None = None
    zone: str = "UTC"
    every: str = MONTH  # one of UNITS, if there is an anchor

    def __str__(self) -> str:
        if self.anchor is None:
            return "calendar-day"
        if self.anchor == FIRST[self.every]:
            return self.every
        if self.every == WEEK:
            return f"{WEEK}@{WEEKDAYS[self.anchor]}"
        if self.every == YEAR:
            return f"{YEAR}@{self.anchor // 100:02}-{self.anchor % 100:02}"
        return f"{MONTH}@{self.anchor}"

    @property
    def name(self) -> str:
        """The unit without anchor or zone: `calendar-day`, `week`, `month` or `year`."""
        return "calendar-day" if self.anchor is None else self.every

    def bounds(self, now: int) -> tuple[int, int]:
        """Return the first moment of the period of `now`, and the first moment after it.

        All in milliseconds since the epoch. Periods follow each other without a gap. If the clocks
        of the zone skip a midnight, the moment of the jump counts. If they show a midnight twice,
        the first one counts.
        """
        zone = _zone(self.zone)
        first = self._floor((_EPOCH + now * _MS).astimezone(zone).date())
        # If clocks go back at midnight, a time after midnight may show the date before it.
        while now >= (after := _midnight(self._next(first), zone)):
            first = self._next(first)
        while now < (start := _midnight(first, zone)):
            first, after = self._floor(first - _DAY), start
        return start, after

    def _floor(self, day: date) -> date:
        if self.anchor is None:
            return day
        if self.every == WEEK:
            return day - (day.weekday() - self.anchor) % 7 * _DAY
        if self.every == YEAR:
            first = day.replace(month=self.anchor // 100, day=self.anchor % 100)
            return first if first <= day else first.replace(year=day.year - 1)
        if day.day < self.anchor:
            day = day.replace(day=1) - _DAY  # the last day of the month before
        return day.replace(day=self.anchor)

    def _next(self, first: date) -> date:
        if self.anchor is None:
            return first + _DAY
        if self.every == WEEK:
            return first + 7 * _DAY
        if self.every == YEAR:
            return first.replace(year=first.year + 1)
        return (first.replace(day=1) + 31 * _DAY).replace(day=self.anchor)


@dataclass(frozen=True, slots=True)
class Once:
    """The whole life of a key or a pool: units that are used do not come back. See `ONCE`."""

    text: str = "once"
    name: str = "credits"

    def __str__(self) -> str:
        return self.text

    def bounds(self, _now: int) -> tuple[int, int]:
        """Return the bounds as a calendar period has them: from 0 to NEVER_ENDS_MS."""
        return 0, NEVER_ENDS_MS


ONCE: Final = Once()

Period = Sliding | Calendar | Once
_WITHOUT_ZONE: Final[dict[str, Sliding | Once]] = {**SLIDING, ONCE.text: ONCE}


def parse(field: str, text: str, zone: str = "") -> Period:
    """Parse `s`, `min`, `h`, `d`, `once`, `calendar-day`, or a `week`, `month` or `year`.

    The last three begin on Monday, on day 1 and on 1 January, or as in `week@sunday` (or `@sun`),
    `month@15` and `year@04-01`. zone: of a calendar period; empty is UTC. Raises BadInput for any
    other text, for an unknown time zone, and for a time zone with `s`, `min`, `h`, `d` or `once`.
    """
    if text in _WITHOUT_ZONE:
        if zone:
            raise BadInput(
                field, f"a time zone goes with calendar-day, week, month or year, not with {text}"
            )
        return _WITHOUT_ZONE[text]
    known = timezone(field, zone) if zone else "UTC"
    if text == "calendar-day":
        return Calendar(None, known)
    every, at, begin = text.partition("@")
    if every not in UNITS or (at and not _BEGIN[every].fullmatch(begin)):
        problem = "is not a period; use one of s, min, h, d, calendar-day, week, month, year, once"
        raise BadInput(field, f"{shown(text)} {problem}")
    return Calendar(_anchor(field, text, every, begin) if at else FIRST[every], known, every)


def _anchor(field: str, text: str, every: str, begin: str) -> int:
    if every == WEEK:
        return next(at for at, day in enumerate(WEEKDAYS) if day.startswith(begin))
    month, day = (1, int(begin)) if every == MONTH else map(int, begin.split("-"))
    if not (1 <= day <= MAX_ANCHOR and 1 <= month <= DECEMBER):
        raise BadInput(
            field,
            f"{text}: a {every} begins on a day that every month has, 1 to {MAX_ANCHOR}",
        )
    return day if every == MONTH else 100 * month + day


def timezone(field: str, text: str) -> str:
    """Return the name of a time zone unchanged. Raises BadInput if the tzdata package lacks it."""
    if text not in _zones():
        raise BadInput(field, f"{shown(text)} is not a time zone, such as UTC or Europe/Berlin")
    return text


def _midnight(day: date, zone: "ZoneInfo") -> int:
    return (datetime.combine(day, time(), zone).astimezone(UTC) - _EPOCH) // _MS


@lru_cache
def _zones() -> frozenset[str]:
    return frozenset(_tzdata("zones").read_text("ascii").split())


@lru_cache
def _zone(name: str) -> "ZoneInfo":
    from zoneinfo import ZoneInfo  # noqa: PLC0415

    with _tzdata("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, name)


def _tzdata(*path: str) -> "Traversable":
    from importlib.resources import files  # noqa: PLC0415

    return files("tzdata").joinpath(*path)
