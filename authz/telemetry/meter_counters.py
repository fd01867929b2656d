"""MeterCounters: the counters of a meter in plain integers, which the SDK reads at each export."""

from authz.core.histogram import Histogram
from authz.core.usage.entry import Cause
from authz.core.usage.events import MeterEvent
from authz.telemetry.counters import Counters
from authz.telemetry.meter_catalogue import COMMIT_DURATION


class MeterCounters:
    """A MeterProbe. transport: counts the events of the listener."""

    def __init__(self) -> None:
        self.events: dict[MeterEvent, int] = dict.fromkeys(MeterEvent, 0)
        self.causes: dict[Cause, int] = dict.fromkeys(Cause, 0)
        self.commit_seconds = Histogram(COMMIT_DURATION.bounds)
        self.transport = Counters()

    def count(self, event: MeterEvent, times: int = 1) -> None:
        """Add `times` to the counter of an event."""
        self.events[event] += times

    def refused(self, cause: Cause, times: int) -> None:
        """Add `times` to the entries that are attributed to no key for this cause."""
        self.causes[cause] += times

    def committed(self, seconds: float) -> None:
        """Record the duration in seconds of a commit that was added."""
        self.commit_seconds.add(seconds)
