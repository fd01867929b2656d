"""When the garbage collector looks, and at what.

What a Check allocates is freed as soon as it is answered, so the collector finds nothing there. It
is there for the cycles that errors and tasks leave behind, and meanwhile walks whatever the cache
holds, with the event loop standing still.
"""

import gc
from typing import Final

# Objects that a collection of the youngest waits for, and how many of one generation's collections
# a collection of the next waits for. With Python's own 700, 10, 10 everything is walked again and
# again while a cache fills up with 100,000 keys, for 44 ms at a time; with these for 3 ms at a time
# (python -m tests.bench.collector).
THRESHOLDS: Final = (5_000, 5, 100)


def tune_gc() -> None:
    """Leave alone what exists now, which lives as long as the process. Once, after the start."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
