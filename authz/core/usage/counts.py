"""Counts of requests, and the spans of time that they are kept for.

A time is kept as a slot: the number of its minute, hour or day since the epoch, or of its month
since January 1970, all in UTC. Slots of one level lie together in windows, so that a key has few
names in the store.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from functools import lru_cache
from operator import add
from typing import Final

from authz.core.usage.outcome import Outcome

LARGEST: Final = 2**53 - 1  # a counter stays at it: neither Lua nor JSON counts further exactly
MINUTE_MS: Final = 60_000
MINUTES_PER_HOUR: Final = 60
MINUTES_PER_DAY: Final = 1440
FIRST_YEAR: Final = 1970
MONTHS: Final = 12


class Field(IntEnum):
    """The numbers that are counted, in the order of their positions.

    A stored row ends with its last number that is not 0. So those that are rarely used stand last.
    units: what limits paid beyond one unit for each request that was not refused. slow_*: how many
    requests took longer. *_tokens, micro_usd: as responses reported them. estimated: requests whose
    budgets kept the estimate.
    """

    OK = 0
    BYTES_IN = 1
    BYTES_OUT = 2
    MILLISECONDS = 3
    SLOW_100_MS = 4
    CLIENT_ERROR = 5
    DENIED = 6
    SERVER_ERROR = 7
    ABORTED = 8
    SLOW_1_S = 9
    SLOW_10_S = 10
    UNITS = 11
    INPUT_TOKENS = 12
    OUTPUT_TOKENS = 13
    CACHED_TOKENS = 14
    CACHE_WRITE_TOKENS = 15
    REASONING_TOKENS = 16
    MICRO_USD = 17
    ESTIMATED = 18


FIELDS: Final = len(Field)
OUTCOMES: Final = {
    Outcome.OK: Field.OK,
    Outcome.CLIENT_ERROR: Field.CLIENT_ERROR,
    Outcome.SERVER_ERROR: Field.SERVER_ERROR,
    Outcome.DENIED: Field.DENIED,
    Outcome.ABORTED: Field.ABORTED,
}
SLOW_MS: Final = (
    (100, Field.SLOW_100_MS),
    (1_000, Field.SLOW_1_S),
    (10_000, Field.SLOW_10_S),
)


class Level(StrEnum):
    """The spans of time by which usage is counted. The value stands in names of the store."""

    MINUTE = "m"
    HOUR = "h"
    DAY = "d"
    MONTH = "y"

    @property
    def window(self) -> int:
        """The number of slots in one window. At most 256 pairs stay in a compact hash."""
        return _WINDOWS[self]

    def slot(self, minute: int) -> int:
        """Return the slot that contains a minute, which is counted since the epoch."""
        if self is Level.MONTH:
            return month_of(minute)
        return minute // _MINUTES[self]

    def starts_at(self, slot: int) -> int:
        """Return the time at which a slot begins, in milliseconds since the epoch."""
        if self is Level.MONTH:
            year, month = divmod(slot, MONTHS)
            return int(datetime(FIRST_YEAR + year, month + 1, 1, tzinfo=UTC).timestamp()) * 1000
        return slot * _MINUTES[self] * MINUTE_MS


_WINDOWS: Final = {Level.MINUTE: 120, Level.HOUR: 192, Level.DAY: 128, Level.MONTH: 60}
_MINUTES: Final = {Level.MINUTE: 1, Level.HOUR: MINUTES_PER_HOUR, Level.DAY: MINUTES_PER_DAY}


@lru_cache(4096)
def month_of(minute: int) -> int:
    """Return the number of a minute's month since January 1970, in UTC."""
    at = datetime.fromtimestamp(minute * 60, UTC)
    return (at.year - FIRST_YEAR) * MONTHS + at.month - 1


@dataclass(frozen=True, slots=True)
class Counts:
    """The numbers of some requests: one for each Field."""

    numbers: tuple[int, ...] = (0,) * FIELDS

    def __getitem__(self, field: Field) -> int:
        return self.numbers[field]

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(tuple(map(add, self.numbers, other.numbers)))  # lists of keys add many

    @property
    def requests(self) -> int:
        """The number of all requests."""
        return sum(self.numbers[field] for field in OUTCOMES.values())

    @property
    def units(self) -> int:
        """The units that limits paid: the requests that were not refused, plus Field.UNITS."""
        return self.requests - self[Field.DENIED] + self[Field.UNITS]

    def by_name(self) -> dict[str, int]:
        """Return the numbers by their names in the answers of commands and of the admin API."""
        return {
            "requests": self.requests,
            "ok": self[Field.OK],
            "client_error": self[Field.CLIENT_ERROR],
            "server_error": self[Field.SERVER_ERROR],
            "denied": self[Field.DENIED],
            "aborted": self[Field.ABORTED],
            "units": self.units,
            "bytes_in": self[Field.BYTES_IN],
            "bytes_out": self[Field.BYTES_OUT],
            "duration_ms": self[Field.MILLISECONDS],
            "over_100_ms": self[Field.SLOW_100_MS],
            "over_1_s": self[Field.SLOW_1_S],
            "over_10_s": self[Field.SLOW_10_S],
            "input_tokens": self[Field.INPUT_TOKENS],
            "output_tokens": self[Field.OUTPUT_TOKENS],
            "cached_tokens": self[Field.CACHED_TOKENS],
            "cache_write_tokens": self[Field.CACHE_WRITE_TOKENS],
            "reasoning_tokens": self[Field.REASONING_TOKENS],
            "micro_usd": self[Field.MICRO_USD],
            "estimated": self[Field.ESTIMATED],
        }


def added(kept: list[int], more: list[int]) -> bool:
    """Add `more` to `kept`, in place. Return whether a number would have passed LARGEST.

    Such a number becomes LARGEST. `more` may be shorter; if it is longer, `kept` grows. An empty
    `kept` gets the numbers as they are.
    """
    if not kept:
        kept.extend(more)
        return False
    is_full = False
    kept.extend([0] * (len(more) - len(kept)))
    for at, number in enumerate(more):
        total = kept[at] + number
        if total > LARGEST:
            total, is_full = LARGEST, True
        kept[at] = total
    return is_full


def trimmed(numbers: list[int]) -> list[int]:
    """Return the numbers without the zeros at the end, as a new list."""
    end = len(numbers)
    while end and not numbers[end - 1]:
        end -= 1
    return numbers[:end]
