"""Measure how the cost of a call grows with the length of its input.

The time is the thread's own processor time. Of several tries the quickest counts: noise only ever
adds. Other work on the machine takes the processor's caches, which costs a long input more than a
short one, so later tries wait for a calmer moment. Work that grows with the square of the length
costs a hundred times as much for ten times the input, in every try.
"""

import time
from collections.abc import Callable
from typing import Any

SMALL, LARGE = 6_000, 60_000  # characters; Envoy takes headers of 60 KiB
MOST = 12  # times the cost, for ten times the input
LONG = 0.05  # seconds; what takes so long is interrupted on a busy machine
MOST_OF_LONG = 30  # times; the square of ten is a hundred
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
    small, large = make(SMALL), make(LARGE)
    for number in range(PATIENCE):
        time.sleep(min(number * LONGER, LONGEST_WAIT))
        cost = _cost(work, large)
        most = MOST if cost < LONG else MOST_OF_LONG
        if cost <= NOISE or cost <= most * _cost(work, small):
            return True
        if cost > HOPELESS:
            break
    return False


def _starts_flat(work: Callable[[Any], Any], make: Input) -> bool:
    """Come near SMALL in small steps, so that what explodes is noticed before it takes hours."""
    length, before = 12, make(8)
    while length < SMALL:
        given = make(length)
        if _cost(work, given) > NOISE * 10 and all(
            _cost(work, given) > STEEP * _cost(work, before) for _ in range(TRIES)
        ):
            return False
        length, before = length + 4 if length < 40 else length * 2, given
    return True


def _cost(work: Callable[[Any], Any], given: Any) -> float:
    """Seconds of this thread, the least of a few."""
    best = float("inf")
    for _ in range(3):
        began = time.thread_time()
        work(given)
        best = min(best, time.thread_time() - began)
        if best > 0.05:
            break
    return best
