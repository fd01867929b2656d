"""Wait until every sidecar has applied a change, or can no longer act on what was before it."""

import asyncio
from typing import Final

from authz.core.ports import Clock, SidecarDirectory
from authz.core.records import KeyRecord
from authz.core.sidecars import Confirmation, confirmation

PAUSE_MIN: Final = 0.001  # seconds between two looks
PAUSE_MAX: Final = 0.050


async def acknowledged(
    directory: SidecarDirectory, record: KeyRecord, patience: float, clock: Clock
) -> Confirmation:
    """Where the change that made `record` stands, once it is complete or after `patience` seconds.

    Call it when the store has confirmed the change: the time of that is taken here. Raises
    Unavailable.
    """
    began, pause = clock.monotonic(), PAUSE_MIN
    while True:
        _, heard = await directory.find()
        elapsed = clock.monotonic() - began
        found = confirmation(
            heard, record.version, record.outage_grace, int(elapsed * 1000), clock.wall_ms()
        )
        if found.is_complete or elapsed >= patience:
            return found
        await asyncio.sleep(min(pause, patience - elapsed))
        pause = min(pause * 2, PAUSE_MAX)
