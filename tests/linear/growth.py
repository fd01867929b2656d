"""Measure how the cost of a call grows with the length of its input.

The time is the thread's own processor time. Of several tries the quickest counts: noise only ever
adds. A long input is compared with ten short ones in a row: both take about as long and touch as
much memory, so other work on the machine disturbs both alike. Later tries wait for a calmer moment.
Work that grows with the square of the length takes ten times as long as the ten, in every try.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

TIMES = 10
SMALL, LARGE = 6_000, 6_000 * TIMES  # characters; Envoy takes headers of 60 KiB
MOST = 12  # times the cost, for TIMES the input
TRIES = 9
PATIENCE = 24  # tries of the judgement
LONGER = 0.05  # seconds that each of them waits longer than the one before
LONGEST_WAIT = 1.0
NOISE = 2e-4  # seconds; ten times less than what the square of SMALL would cost
STEEP = 2.8  # times the cost for twice the input; the square is 4 times
HOPELESS = 1.0  # seconds; no linear work on LARGE takes so long

Input = Callable[[int], Any]  # one of about so many characters


def is_linear(work: Callable[[Any], Any], make: Input) -> bool:
    """Return whether `work` on LARGE costs at most MOST times what it costs on SMALL."""
    if not _starts_flat(work, make):
        return False
    small, large = [make(SMALL) for _ in range(TIMES)], [make(LARGE)]
    for number in range(PATIENCE):
        time.sleep(min(number * LONGER, LONGEST_WAIT))
        cost = _cost(work, large)
        if cost <= NOISE or cost <= MOST / TIMES * _cost(work, small):
            return True
        if cost > HOPELESS:
            break
    return False


def _starts_flat(work: Callable[[Any], Any], make: Input) -> bool:
    """Come near SMALL in small steps, so that what explodes is noticed before it takes hours."""
    length, before = 12, make(8)
    while length < SMALL:
        given = make(length)
        if _cost(work, [given]) > NOISE * 10 and all(
            _cost(work, [given]) > STEEP * _cost(work, [before]) for _ in range(TRIES)
        ):
            return False
        length, before = length + 4 if length < 40 else length * 2, given
    return True


def _cost(work: Callable[[Any], Any], given: Sequence[Any]) -> float:
    """Seconds of this thread for all of `given`, the least of a few."""
    best = float("inf")
    for _ in range(3):
        began = time.thread_time()
        for one in given:
            work(one)
        best = min(best, time.thread_time() - began)
        if best > 0.05:
            break
    return best
