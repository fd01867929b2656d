"""The clock of the operating system."""

import time
from functools import partial
from pathlib import Path
from time import time_ns

_SINCE_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_id() -> str:
    """Return the id of this boot of the machine, from /proc; "" if it cannot be read."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


class SystemClock:
    """A Clock from the operating system."""

    @staticmethod
    def wall_ms() -> int:
        """Return milliseconds since the epoch. The clock may jump, also backwards."""
        return time_ns() // 1_000_000

    # See Clock. Includes suspended time if the system has such a clock. Each Check reads it twice,
    # so it is a C function and not a method.
    monotonic = staticmethod(partial(time.clock_gettime, _SINCE_BOOT))
