"""What the machine does to a process is no fault of a sidecar: when did this one stand still?"""

import asyncio
import time
from collections.abc import Callable

from tests.chaos.history import now

EVERY = 0.05  # seconds
LATE = 0.1  # seconds


async def watch(note: Callable[[float, float], None]) -> None:
    """Note from when to when nothing ran here, until cancelled.

    A loop that is late because it was busy has itself to blame: that is not noted.
    """
    while True:
        due, used = now() + EVERY, time.process_time()
        await asyncio.sleep(EVERY)
        late = now() - due
        if late > LATE and time.process_time() - used < late / 2:
            note(due, due + late)
