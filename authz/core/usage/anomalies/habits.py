"""Habits: the state of one key that its next hour is compared with, as an array of floats.

The array is stored as little-endian floats of 4 bytes, at the positions below. An hour is counted
since the epoch, so it has an exact value as such a float until the year 3883.
"""

import sys
from array import array
from itertools import pairwise
from typing import Final

from authz.core.errors import Unreadable

VERSION: Final = 1.0
DAY_HOURS: Final = 24
WEEK_DAYS: Final = 7
RING_DAYS: Final = 8  # the days of a week, and the one that is not over

# Positions. AGE: hours that were judged. SINCE: the hour from which on no hour was left out.
FORMAT, HOUR, AGE, SINCE = 0, 1, 2, 3
LEVEL, VARIANCE, ABOVE, BELOW = 4, 5, 6, 7  # of the rate; see rate.py
DENIED, ERRORS = 8, 10  # angle of the share, and variance; see shares.py
DAY: Final = 12  # the profile of the day
WEEK: Final = DAY + DAY_HOURS  # the profile of the week
NETWORKS: Final = WEEK + WEEK_DAYS  # the most at a time, by day, and the most of them all
AGENTS: Final = NETWORKS + RING_DAYS + 1
SIZE: Final = AGENTS + RING_DAYS + 1

Habits = array  # of floats

# The stored bytes as one number: the sign of each float, and the lowest bit of each exponent.
_SIGNS: Final = int.from_bytes(b"\0\0\0\x80" * SIZE, "little")
_EXPONENTS: Final = int.from_bytes(b"\0\0\x80\0" * SIZE, "little")

_FRESH: Final = array("f", [VERSION, *[0.0] * (SIZE - 1)])
_FRESH[VARIANCE] = 1.0
for _begin, _end in pairwise((DAY, WEEK, NETWORKS)):
    for _at in range(_begin, _end):
        _FRESH[_at] = 1.0


def fresh(hour: int) -> "array[float]":
    """Return the habits of a key whose first hour is `hour`."""
    habits = _FRESH[:]
    habits[HOUR], habits[SINCE] = hour - 1, hour
    return habits


def unpack(data: bytes) -> "array[float]":
    """Return stored habits. Raises Unreadable for another length, another version or no habits."""
    habits = array("f")
    if len(data) != SIZE * habits.itemsize:
        raise Unreadable("not the habits of a key: another length")
    habits.frombytes(data)
    if sys.byteorder == "big":
        habits.byteswap()
    if habits[FORMAT] != VERSION:
        raise Unreadable("not the habits of a key: another version")
    if not (_is_sound(data) and habits[VARIANCE] and all(habits[DAY:NETWORKS])):
        raise Unreadable("not the habits of a key: a number that no hour gives")
    return habits


def _is_sound(data: bytes) -> bool:
    """Return whether no float is negative, infinite or NaN.

    The exponent of the last two is all ones: one more is carried into the sign. Of all floats at
    once this takes a tenth of the time that a loop does.
    """
    bits = int.from_bytes(data, "little")
    return not (bits | bits + _EXPONENTS) & _SIGNS


def pack(habits: "array[float]") -> bytes:
    """Return habits as they are stored."""
    if sys.byteorder == "big":
        habits = habits[:]
        habits.byteswap()
    return habits.tobytes()


def move_on(habits: "array[float]", hour: int) -> None:
    """Make `hour` the current one. Hours between it and the last one are left out.

    After more than a day of them, the history of callers begins again.
    """
    last, habits[HOUR] = int(habits[HOUR]), hour
    day, before = hour // DAY_HOURS, last // DAY_HOURS
    if day == before:
        return
    if hour - last > DAY_HOURS:
        habits[SINCE] = hour
    for each in range(max(before + 1, day - RING_DAYS + 1), day + 1):
        habits[NETWORKS + each % RING_DAYS] = habits[AGENTS + each % RING_DAYS] = 0.0
    for ring in (NETWORKS, AGENTS):
        habits[ring + RING_DAYS] = max(habits[ring : ring + RING_DAYS])
