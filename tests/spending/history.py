"""Admitted requests with their times, read from many processes and judged against limits.

An admission is an interval in microseconds by the boot clock, which all processes of a machine
share: the decision was made in it. One made on a lease is a moment; one that the store made lies
between the asking and the answer. So a window is only said to hold what was certainly made in it.
"""

import struct
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

ROW = struct.Struct("<BQQ")  # which key, not before, not after


def read(files: list[Path]) -> dict[int, list[tuple[int, int]]]:
    """Admissions by key. A process that was killed may have left half a row."""
    rows = []
    for file in files:
        data = file.read_bytes()
        rows += ROW.iter_unpack(data[: len(data) // ROW.size * ROW.size])
    rows.sort()
    return {
        key: [(early, late) for _, early, late in found]
        for key, found in groupby(rows, itemgetter(0))
    }


def windows(admissions: list[tuple[int, int]], window: int) -> Iterator[tuple[int, int]]:
    """Yield the end of each window that counts, and how many were made within it.

    A window has `window` microseconds and ends with an admission: nothing is lost by moving one
    back to there.
    """
    made = sorted((late, early) for early, late in admissions if late - early < window)
    begun = sorted(early for _, early in made)
    # What began before such a window ended before its end, for it is shorter than a window.
    for done, (late, _) in enumerate(made, start=1):
        yield late, done - bisect_left(begun, late - window + 1)


def fullest(admissions: list[tuple[int, int]], window: int) -> int:
    """How many were made within any `window` microseconds, wherever it begins."""
    return max((number for _, number in windows(admissions, window)), default=0)


@dataclass(frozen=True)
class Rate:
    """At most `limit` in any `seconds`."""

    limit: int
    seconds: float


def violations(admissions: list[tuple[int, int]], rates: list[Rate]) -> list[str]:
    """Every rate that was not kept."""
    found = []
    for rate in rates:
        most = fullest(admissions, round(rate.seconds * 1e6))
        if most > rate.limit:
            found.append(f"{most} within {rate.seconds:g} s, where {rate.limit} are the limit")
    return found


def used(admissions: list[tuple[int, int]], rate: Rate) -> float:
    """Which part of a rate was used: how soon so many times the limit had passed.

    Of a burst at the beginning or the end no more counts than the limit, whatever moment it has.
    """
    made = sorted(late for _, late in admissions)
    times = (len(made) - 1) // rate.limit
    if times < 1:
        return 0.0
    return times * rate.seconds * 1e6 / (made[times * rate.limit] - made[0])
