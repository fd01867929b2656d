"""The clock of the operating system."""

import time
from functools import partial
from pathlib import Path

_SINCE_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_id() -> str:
    """What tells this boot of the machine from another; empty where that is not known."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


class SystemClock:
    """A Clock from the operating system."""

    def wall_ms(self) -> int:
        """See Clock."""
        return time.time_ns() // 1_000_000

    # See Clock. Counts suspended time where the system has such a clock. Asked twice in each Check,
    # it is worth being no function of ours.
    monotonic = staticmethod(partial(time.clock_gettime, _SINCE_BOOT))
