"""The time that a limit applies to: a sliding window or a calendar period."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from importlib import resources
from typing import Final
from zoneinfo import ZoneInfo

from authz.core.errors import BadInput
from authz.core.fields import shown

MAX_ANCHOR: Final = 28  # every month has this day

_MONTH = re.compile(r"month(?:@([0-9]{1,3}))?", re.ASCII)
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
    """A calendar day in `zone`, or a month that begins on day `anchor`.

    All sidecars must see the same periods. So time zones come from the tzdata package only, never
    from files of the machine.
    """

    anchor: int | None = None  # None: a day
    zone: str = "UTC"

    def __str__(self) -> str:
        if self.anchor is None:
            return "calendar-day"
        return "month" if self.anchor == 1 else f"month@{self.anchor}"

    @property
    def name(self) -> str:
        """The unit without anchor or zone: `calendar-day` or `month`."""
        return "calendar-day" if self.anchor is None else "month"

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
        if day.day < self.anchor:
            day = day.replace(day=1) - _DAY  # the last day of the month before
        return day.replace(day=self.anchor)

    def _next(self, first: date) -> date:
        if self.anchor is None:
            return first + _DAY
        return (first.replace(day=1) + 31 * _DAY).replace(day=self.anchor)


Period = Sliding | Calendar


def parse(field: str, text: str, zone: str = "") -> Period:
    """Parse `s`, `min`, `h`, `d`, `calendar-day`, `month` (from day 1) or `month@1` to `month@28`.

    zone: of a calendar period; empty is UTC. Raises BadInput for any other text, for an unknown
    time zone, and for a time zone with `s`, `min`, `h` or `d`.
    """
    if text in SLIDING:
        if zone:
            raise BadInput(field, f"a time zone goes with calendar-day or month, not with {text}")
        return SLIDING[text]
    known = timezone(field, zone) if zone else "UTC"
    if text == "calendar-day":
        return Calendar(None, known)
    month = _MONTH.fullmatch(text)
    if month is None:
        raise BadInput(field, f"{shown(text)} is not a period; s, min, h, d, calendar-day, month")
    anchor = int(month[1] or 1)
    if not 1 <= anchor <= MAX_ANCHOR:
        raise BadInput(
            field, f"{text}: a month begins on a day that every month has, 1 to {MAX_ANCHOR}"
        )
    return Calendar(anchor, known)


def timezone(field: str, text: str) -> str:
    """Return the name of a time zone unchanged. Raises BadInput if the tzdata package lacks it."""
    if text not in _zones():
        raise BadInput(field, f"{shown(text)} is not a time zone, such as UTC or Europe/Berlin")
    return text


def _midnight(day: date, zone: ZoneInfo) -> int:
    return (datetime.combine(day, time(), zone).astimezone(UTC) - _EPOCH) // _MS


@lru_cache
def _zones() -> frozenset[str]:
    return frozenset(resources.files("tzdata").joinpath("zones").read_text("ascii").split())


@lru_cache
def _zone(name: str) -> ZoneInfo:
    with resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, name)
