"""Detection of pauses of the machine. A round with a pause proves nothing about timing.

A thread that only sleeps was not run, although its process used no processor time meanwhile. The
code under test cannot cause that.

Nor does a round on a crowded machine, on which far more threads are ready to run than it has cores.
There a thread that computes waits for others, although one that sleeps is served at once.
"""

import os
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Self, TypeVar

TICK = 0.01  # seconds
BEARABLE = 0.1  # seconds; less than any limit that is tested in real time
ROUNDS = 5
CROWD = 1.5  # threads for each core that are ready to run, in the mean of a round

T = TypeVar("T")


def now() -> float:
    """Return the boot clock, which all processes of a machine share and nobody sets."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def ready() -> int:
    """Return how many threads of the machine run or are ready to: `procs_running` of proc(5)."""
    lines = Path("/proc/stat").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("procs_running"))


class Watch:
    """A context manager that collects `stalls`: begin and end of each pause of the machine."""

    def __init__(self) -> None:
        self.stalls: list[tuple[float, float]] = []
        self._ready: list[int] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._measure, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def was_quiet(self) -> bool:
        """Whether the machine neither paused nor was crowded."""
        most = CROWD * (os.cpu_count() or 1)
        return not self.stalls and sum(self._ready) <= most * len(self._ready)

    def _measure(self) -> None:
        last, worked, is_over = now(), time.process_time(), False
        while not is_over:
            is_over = self._over.wait(TICK)
            found, work = now(), time.process_time()
            if found - last - (work - worked) > TICK + BEARABLE:
                self.stalls.append((last, found))
            self._ready.append(ready())
            last, worked = found, work


def conclusive(play: Callable[[], T], is_right: Callable[[T], bool]) -> T:
    """Play rounds until one is right or the machine was quiet; return the last result."""
    for _ in range(ROUNDS):
        with Watch() as watch:
            found = play()
        if is_right(found) or watch.was_quiet:
            break
    return found


async def conclusively(play: Callable[[], Awaitable[T]], is_right: Callable[[T], bool]) -> T:
    """Like `conclusive`, for a coroutine."""
    for _ in range(ROUNDS):
        with Watch() as watch:
            found = await play()
        if is_right(found) or watch.was_quiet:
            break
    return found
