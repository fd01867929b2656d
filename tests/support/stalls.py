"""Detection of pauses of the machine. A round with a pause proves nothing about timing.

A thread that only sleeps was not run, although its process used no processor time meanwhile. The
code under test cannot cause that.
"""

import threading
import time
from collections.abc import Awaitable, Callable
from typing import Self, TypeVar

TICK = 0.01  # seconds
BEARABLE = 0.1  # seconds; less than any limit that is tested in real time
ROUNDS = 5

T = TypeVar("T")


def now() -> float:
    """Return the boot clock, which all processes of a machine share and nobody sets."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Watch:
    """A context manager that collects `stalls`: begin and end of each pause of the machine."""

    def __init__(self) -> None:
        self.stalls: list[tuple[float, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._measure, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._over.set()
        self._thread.join()

    def _measure(self) -> None:
        last, worked, is_over = now(), time.process_time(), False
        while not is_over:
            is_over = self._over.wait(TICK)
            found, work = now(), time.process_time()
            if found - last - (work - worked) > TICK + BEARABLE:
                self.stalls.append((last, found))
            last, worked = found, work


def conclusive(play: Callable[[], T], is_right: Callable[[T], bool]) -> T:
    """Play rounds until one is right or the machine did not pause; return the last result."""
    for _ in range(ROUNDS):
        with Watch() as watch:
            found = play()
        if is_right(found) or not watch.stalls:
            break
    return found


async def conclusively(play: Callable[[], Awaitable[T]], is_right: Callable[[T], bool]) -> T:
    """Like `conclusive`, for a coroutine."""
    for _ in range(ROUNDS):
        with Watch() as watch:
            found = await play()
        if is_right(found) or not watch.stalls:
            break
    return found
