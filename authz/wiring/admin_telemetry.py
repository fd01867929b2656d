"""Composition root of the admin API's telemetry: its metrics and its spans."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from authz import __version__
from authz.core.ports import Clock
from authz.flows.trail.regular_sealing import RegularSealing
from authz.settings.model import Settings
from authz.telemetry.admin_metrics import (
    ADMIN_METRICS,
    ADMIN_READY,
    AUDIT_FINDINGS,
    AUDIT_ROUNDS,
    CALL_DURATION,
    CALLS,
    CallCounters,
)
from authz.telemetry.admin_observer import AdminObserver
from authz.telemetry.catalogue import LOG_SUPPRESSED
from authz.telemetry.logs import log_throttle
from authz.telemetry.metric import Labels, Readings
from authz.telemetry.metrics import Metrics, Page, Push
from authz.wiring.guard import Guard, guard_readings
from authz.wiring.process_metrics import one, process_readings
from authz.wiring.telemetry import traces_of


class AdminTelemetry:
    """Telemetry by the settings. It counts from the start, and exports once it is told to."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._counters = CallCounters()
        self.observer = AdminObserver(self._counters)

    @contextmanager
    def exporting(
        self,
        instance: str,
        is_ready: Callable[[], bool],
        sealing: RegularSealing,
        guard: Guard,
    ) -> Iterator[Page | None]:
        """Export until the block ends. Yield the page of metrics, or None if metrics are off.

        At the end the exporters send the rest, each for at most STOP_SECONDS. Raises BadInput if
        traces are on and `telemetry.otlp` is missing.
        """
        about = {
            "service.name": "authz-admin",
            "service.version": __version__,
            "service.instance.id": instance,
        }
        traces = traces_of(self._settings, about, self._clock)
        if traces:
            self.observer.trace(traces)
        metrics = None
        if self._settings.telemetry.metrics:
            metrics = self._metrics(about, is_ready, sealing, guard)
        try:
            yield metrics.page if metrics else None
        finally:
            for each in (metrics, traces):
                if each:
                    each.stop()

    def _metrics(
        self,
        about: Mapping[str, str],
        is_ready: Callable[[], bool],
        sealing: RegularSealing,
        guard: Guard,
    ) -> Metrics:
        otlp = self._settings.telemetry.otlp
        read: Readings = {
            CALLS: self._counters.calls,
            CALL_DURATION: self._counters.durations,
            ADMIN_READY: one(lambda: int(is_ready())),
            AUDIT_ROUNDS: lambda: _by("outcome", sealing.rounds),
            AUDIT_FINDINGS: lambda: _by("kind", sealing.findings),
            LOG_SUPPRESSED: one(lambda: log_throttle.left_out),
            **guard_readings(guard, self._clock),
            **process_readings(self._clock),
        }
        push = Push(otlp.endpoint, otlp.interval) if otlp else None
        return Metrics(read, about, push, ADMIN_METRICS)


def _by(label: str, counts: Mapping[str, int]) -> Iterator[tuple[Labels, float]]:
    for word, count in counts.items():
        yield {label: word}, count
