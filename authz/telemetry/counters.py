"""Counters in plain integers, which the SDK reads at each export.

The SDK takes 4 to 5 µs to record one value, half of a whole Check. A plain integer takes a fraction
of 1 µs.
"""

from collections.abc import Callable

from authz.core.decision import Reason
from authz.core.errors import Elsewhere, Fault
from authz.core.events import Event
from authz.core.histogram import Histogram
from authz.core.ports import Clock, KeySource, Loaded
from authz.telemetry.catalogue import CHECK_DURATION, LOOKUP_DURATION


class Counters:
    """A Probe in plain integers, with histograms of durations in seconds.

    miss_seconds: Checks that waited for the store. hit_seconds: Checks that did not wait.
    lookup_seconds: by result, which is found, absent or failed.
    """

    def __init__(self) -> None:
        self.allowed = 0
        self.denied: dict[Reason, int] = dict.fromkeys(Reason, 0)
        self.would_deny: dict[Reason, int] = dict.fromkeys(Reason, 0)
        self.events: dict[Event, int] = dict.fromkeys(Event, 0)
        self.hit_seconds = Histogram(CHECK_DURATION.bounds)
        self.miss_seconds = Histogram(CHECK_DURATION.bounds)
        results = LOOKUP_DURATION.labels["result"]
        self.lookup_seconds = {result: Histogram(LOOKUP_DURATION.bounds) for result in results}

    def decided(self, reason: Reason | None) -> None:
        """Count a decision: a refusal for `reason`, or an allow if `reason` is None."""
        if reason is None:
            self.allowed += 1
        else:
            self.denied[reason] += 1

    def reported(self, reason: Reason) -> None:
        """Count a request as allowed. Count it too as one that would be refused for `reason`."""
        self.allowed += 1
        self.would_deny[reason] += 1

    def count(self, event: Event, times: int = 1) -> None:
        """Add `times` to the counter of an event, by default 1."""
        self.events[event] += times


class TimedKeys:
    """A KeySource that measures the lookups of another."""

    def __init__(self, source: KeySource, clock: Clock, counters: Counters) -> None:
        self._source = source
        self._monotonic = clock.monotonic
        self._seconds = counters.lookup_seconds

    def load(self, kid: str, deliver: Callable[[Loaded], None]) -> None:
        """Load from the other source, and record the seconds until it delivers.

        They are recorded as `absent` for None and for a moved key, `failed` for another Fault, else
        `found`, before `deliver` is called.
        """
        began = self._monotonic()

        def timed(loaded: Loaded) -> None:
            is_absent = loaded is None or isinstance(loaded, Elsewhere)
            result = "absent" if is_absent else "failed" if isinstance(loaded, Fault) else "found"
            self._seconds[result].add(self._monotonic() - began)
            deliver(loaded)

        self._source.load(kid, timed)
