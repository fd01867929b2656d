"""Readers of all metrics of the meter, and their exporter."""

import secrets
import socket
from collections.abc import Callable

from authz import __version__
from authz.core.ports import Clock
from authz.flows.usage.meter import Meter
from authz.flows.usage.partitioned_meter import PartitionedMeter
from authz.settings.model import Settings
from authz.telemetry import meter_catalogue as catalogue
from authz.telemetry.meter_counters import MeterCounters
from authz.telemetry.metric import Metric, Read, Readings
from authz.telemetry.metrics import Metrics, Push
from authz.wiring.process_metrics import one, process_readings


def meter_metrics(
    settings: Settings,
    counters: MeterCounters,
    meter: Meter | PartitionedMeter,
    is_ready: Callable[[], bool],
    clock: Clock,
) -> Metrics | None:
    """Return the exporter of the meter's metrics; None if `telemetry.metrics` is off."""
    if not settings.telemetry.metrics:
        return None
    about = {
        "service.name": "authz-meter",
        "service.version": __version__,
        "service.instance.id": f"{socket.gethostname()}-{secrets.token_hex(4)}",
    }
    otlp = settings.telemetry.otlp
    push = Push(otlp.endpoint, otlp.interval) if otlp else None
    found = readings(counters, meter, is_ready, clock)
    return Metrics(found, about, push, catalogue.METER_METRICS)


def readings(
    counters: MeterCounters,
    meter: Meter | PartitionedMeter,
    is_ready: Callable[[], bool],
    clock: Clock,
) -> Readings:
    """Return the reader of every metric of the meter."""
    return {
        **{metric: _counted(metric, counters) for metric in catalogue.METER_METRICS},
        catalogue.REFUSED_ENTRIES: lambda: [
            ({"cause": cause.value}, number) for cause, number in counters.causes.items()
        ],
        catalogue.COMMIT_DURATION: lambda: [({}, counters.commit_seconds)],
        catalogue.LAG: one(lambda: meter.lag),
        catalogue.WAITING: one(lambda: meter.waiting_bytes),
        catalogue.READY: one(lambda: int(is_ready())),
        **process_readings(clock),
    }


def _counted(metric: Metric, counters: MeterCounters) -> Read:
    events = [(event, labels) for event, (of, labels) in catalogue.COUNTED.items() if of is metric]
    return lambda: [(labels, counters.events[event]) for event, labels in events]
