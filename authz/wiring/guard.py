"""The parts of `authz admin` about leaks, rotations and events that telemetry reads."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from authz.core.leaks import Done
from authz.core.ports import Clock
from authz.flows.notifications.counts import EventCounts
from authz.telemetry import guard_metrics as metrics
from authz.telemetry.metric import Labels, Readings
from authz.wiring.anomalies import AnomalyWorks, anomaly_readings
from authz.wiring.process_metrics import one
from authz.wiring.rotation import RotationWorks, rotation_readings


@dataclass(slots=True)
class Guard:
    """The parts. Each is empty if the settings do not want it."""

    rotation: RotationWorks
    anomalies: AnomalyWorks
    events: EventCounts = field(default_factory=EventCounts)
    leaks: Counter[Done] = field(default_factory=Counter)


def guard_readings(guard: Guard, clock: Clock) -> Readings:
    """Return the readers of the metrics about leaks, rotations, anomalies and events."""

    def sent() -> Iterator[tuple[Labels, float]]:
        for result, count in guard.events.sent.items():
            yield {"result": result.value}, count

    def leaks() -> Iterator[tuple[Labels, float]]:
        for done in Done:
            yield {"done": done.value}, guard.leaks[done]

    return {
        metrics.EVENTS: sent,
        metrics.EVENT_LAG: one(lambda: guard.events.lag_ms(clock.wall_ms()) / 1000),
        metrics.LEAKS: leaks,
        **rotation_readings(guard.rotation),
        **anomaly_readings(guard.anomalies, clock),
    }
