"""End a process that has grown, so that its supervisor starts a fresh one.

grpcio loses some bytes with every call that its client cancels, and Envoy cancels when its own
timeout fires. A sidecar that times out all day grows by that, and nothing in it can give it back.
"""

import asyncio
import os
import random
from pathlib import Path
from typing import Final

LOOK: Final = 10.0  # seconds between two looks
YOUTH: Final = 300.0  # seconds: what grew in less did not leak; ending it would go round in circles
SPREAD: Final = 0.1  # so that not all sidecars end at once

_STATM: Final = Path("/proc/self/statm")


def resident_bytes() -> int:
    """How much memory this process holds; 0 where the system does not say."""
    try:
        pages = int(_STATM.read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def resident_mib() -> int:
    """The same in MiB."""
    return resident_bytes() >> 20


async def outgrown(limit_mib: int) -> int:
    """Wait until this process holds more than that; returns how much."""
    limit = limit_mib * (1 + SPREAD * random.random())  # noqa: S311  jitter
    await asyncio.sleep(YOUTH)
    while True:
        found = resident_mib()
        if found > limit:
            return found
        await asyncio.sleep(LOOK)
