"""Readers of the metrics of the process itself."""

import resource
from collections.abc import Callable, Iterable

from authz.core.ports import Clock
from authz.process.recycling import resident_bytes
from authz.telemetry.metric import Labels, Read, Readings
from authz.telemetry.process_catalogue import BUILD, PROCESS_CPU, PROCESS_MEMORY, PROCESS_UPTIME


def process_readings(clock: Clock) -> Readings:
    """Return the readers of the metrics of this process, which begins now."""
    began = clock.monotonic()

    def cpu() -> Iterable[tuple[Labels, float]]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        yield {"cpu.mode": "user"}, used.ru_utime
        yield {"cpu.mode": "system"}, used.ru_stime

    return {
        BUILD: lambda: [(BUILD.series[0], 1)],
        PROCESS_MEMORY: one(resident_bytes),
        PROCESS_CPU: cpu,
        PROCESS_UPTIME: one(lambda: clock.monotonic() - began),
    }


def one(read: Callable[[], float]) -> Read:
    """Return the reader of a metric with a single series without labels."""
    return lambda: [({}, read())]
