"""Tuning of the garbage collector.

Objects of a Check are freed by reference counting, so the collector finds nothing there. It is
needed for the cycles of exceptions and tasks. Each collection walks the whole cache and stops the
event loop meanwhile.
"""

import ctypes
import gc
from contextlib import suppress
from typing import Final

# Thresholds of the three generations, see gc.set_threshold. With Python's own 700, 10, 10 a cache
# that fills up with 100,000 keys causes pauses of 44 ms; with these the longest is 3 ms
# (python -m tests.bench.collector).
THRESHOLDS: Final = (5_000, 5, 100)


def tune_gc() -> None:
    """Collect garbage once, exempt all remaining objects from collection, and set THRESHOLDS.

    Give memory that the start has freed back to the system, where the C library is able to. Call it
    once, after the start.
    """
    gc.collect()
    with suppress(AttributeError):  # musl has no such function
        ctypes.CDLL(None).malloc_trim(0)
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
