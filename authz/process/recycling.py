"""Detect a process that has grown, so that its supervisor can start a new one.

grpcio leaks some bytes with every call that its client cancels, and Envoy cancels a call at its
timeout. A sidecar with many timeouts grows by that leak.
"""

import asyncio
import os
import random
from pathlib import Path
from typing import Final

LOOK: Final = 10.0  # seconds between two measurements
YOUTH: Final = 300.0  # seconds; faster growth is no leak, and a restart would repeat it
SPREAD: Final = 0.1  # share of the limit; so that not all sidecars restart at once

_STATM: Final = Path("/proc/self/statm")


def resident_bytes() -> int:
    """Return the resident memory of this process in bytes; 0 if /proc is not available."""
    try:
        pages = int(_STATM.read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def resident_mib() -> int:
    """Return the resident memory in whole MiB, rounded down; 0 if it is unknown."""
    return resident_bytes() >> 20


async def outgrown(limit_mib: int) -> int:
    """Wait until the resident memory is above the limit. Return it, in MiB.

    The limit is raised by up to SPREAD at random. The first measurement is after YOUTH seconds,
    then one each LOOK seconds. Never returns if the memory is unknown.
    """
    limit = limit_mib * (1 + SPREAD * random.random())  # noqa: S311  jitter
    await asyncio.sleep(YOUTH)
    while True:
        found = resident_mib()
        if found > limit:
            return found
        await asyncio.sleep(LOOK)
