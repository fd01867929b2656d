"""Did the machine stand still? Where a claim is about time, a round in which it did says nothing.

What is measured is that a thread which only sleeps was not run, though its process took no
processor time meanwhile. Nothing that is tested can do that.
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
    """The boot clock, which all processes of a machine share, and which nobody sets."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Watch:
    """with Watch() as watch: ...    `stalls`: from when to when the thread was not run."""

    def __init__(self) -> None:
        self.stalls: list[tuple[float, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        last, worked, is_over = now(), time.process_time(), False
        while not is_over:
            is_over = self._over.wait(TICK)
            found, work = now(), time.process_time()
            if found - last - (work - worked) > TICK + BEARABLE:
                self.stalls.append((last, found))
            last, worked = found, work


def conclusive(play: Callable[[], T], is_right: Callable[[T], bool]) -> T:
    """What comes of the first round that is right, or in which the machine did not stand still."""
    for _ in range(ROUNDS):
        with Watch() as watch:
            found = play()
        if is_right(found) or not watch.stalls:
            break
    return found


async def conclusively(play: Callable[[], Awaitable[T]], is_right: Callable[[T], bool]) -> T:
    """The same of a coroutine."""
    for _ in range(ROUNDS):
        with Watch() as watch:
            found = await play()
        if is_right(found) or not watch.stalls:
            break
    return found
