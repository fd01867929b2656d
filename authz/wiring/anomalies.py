"""Composition root of anomalies: the judgement of hours, and the alarms that follow."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import product

from authz.core.keys.keyring import Keyring
from authz.core.ports import Clock
from authz.core.usage.anomalies.features import Feature, Gap
from authz.core.usage.anomalies.policy import Done
from authz.flows.automatic_rotation import PolicyRotation
from authz.flows.delivered_rotation import DeliveredRotation
from authz.flows.lifecycle import Lifecycle
from authz.flows.notifications.alarm_notes import AlarmNotes, TrailAlarms
from authz.flows.notifications.alarm_watch import ALARMS, AlarmWatch
from authz.flows.partitioned.alarms import PartitionedAlarms
from authz.flows.usage.judgement import JUDGEMENTS, Judgement
from authz.settings.model import Settings
from authz.storage import schema
from authz.storage.endpoint import Client
from authz.storage.leak_memory import StoredLeakMemory
from authz.storage.trail import StoredRows
from authz.telemetry import admin_metrics as metrics
from authz.telemetry.metric import Labels, Readings
from authz.wiring.administration import partitions
from authz.wiring.notifications import Work
from authz.wiring.process_metrics import one
from authz.wiring.store_parts import StoreParts
from authz.wiring.usage_readers import habits, usage_index


@dataclass(slots=True)
class AnomalyWorks:
    """The endless works, and their parts for telemetry. None: the settings do not want it."""

    works: list[Work] = field(default_factory=list)
    judgement: Judgement | None = None
    alarms: AlarmWatch | None = None


def anomaly_works(
    settings: Settings,
    parts: StoreParts,
    ring: Keyring,
    clock: Clock,
    *,
    deliveries: DeliveredRotation,
    instance: str,
    is_ours: Callable[[], bool],
) -> AnomalyWorks:
    """Return the works: to judge hours, and to raise alarms if the settings name keys.

    Both go over all partitions together: too many unusual keys are so many in all of them.
    """
    section, found = settings.anomalies, AnomalyWorks()
    if not section.enabled:
        return found
    known = habits(parts)
    found.judgement = Judgement(known, usage_index(parts), instance)
    found.works.append(partial(JUDGEMENTS.run, found.judgement.look, is_ours))
    policy = section.policy()
    if policy is not None:
        found.alarms = AlarmWatch(
            known,
            parts.index,
            Lifecycle(parts.keys, ring, clock),
            rotation=PolicyRotation(deliveries, settings.rotation.policies(), clock),
            ended=parts.following(lambda found: found.at_first(_ruled)),
            policy=policy,
            notes=alarm_notes(settings, parts, ring, clock, instance),
            clock=clock,
        )
        found.works.append(partial(ALARMS.run, found.alarms.look, is_ours))
    return found


def _ruled(client: Client) -> StoredLeakMemory:
    """Return the memory of the keys that rules changed. It is one for all partitions."""
    return StoredLeakMemory(client, schema.names_of(client).ruled)


def alarm_notes(
    settings: Settings, parts: StoreParts, ring: Keyring, clock: Clock, writer: str
) -> AlarmNotes:
    """Return the alarms in the trails of all partitions. writer: the actor of new rows."""
    has_replicas = partitions(settings)[0].has_replicas

    def notes(client: Client) -> TrailAlarms:
        rows = StoredRows(client, has_replicas=has_replicas)
        return TrailAlarms(rows, ring.trail_keys, clock, writer)

    return parts.joined(parts.each(notes), PartitionedAlarms)


def anomaly_readings(odd: AnomalyWorks, clock: Clock) -> Readings:
    """Return the readers of the metrics about anomalies. Without judgements all are 0."""
    judgement, alarms = odd.judgement, odd.alarms

    def lag() -> float:
        last = judgement.last if judgement else None
        return max(0.0, clock.wall_ms() / 1000 - (last.hour + 1) * 3600) if last else 0.0

    def not_judged() -> Iterator[tuple[Labels, float]]:
        last = judgement.last if judgement else None
        for feature, cause in product(Feature, Gap):
            number = last.gaps.get((feature, cause), 0) if last else 0
            yield {"feature": feature.value, "cause": cause.value}, number

    return {
        metrics.ANOMALY_KEYS: one(lambda: judgement.keys if judgement else 0),
        metrics.ANOMALIES: lambda: [
            ({"feature": feature.value}, judgement.anomalies.get(feature, 0) if judgement else 0)
            for feature in Feature
        ],
        metrics.ANOMALY_ALARMS: lambda: [
            ({"done": done.value}, alarms.done[done] if alarms else 0) for done in Done
        ],
        metrics.ANOMALY_NOT_JUDGED: not_judged,
        metrics.ANOMALY_LAG: one(lag),
    }
