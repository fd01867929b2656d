"""Composition root of rotations without a person: of due keys, and of old secrets."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from authz.core.delivery import Arrival
from authz.core.ports import Clock
from authz.flows.automatic_rotation import DUE_KEYS, AutomaticRotation
from authz.flows.delivered_rotation import DeliveredRotation
from authz.flows.early_retirement import OVERLAPS, EarlyRetirement
from authz.flows.lifecycle import Lifecycle
from authz.flows.selection import Selection
from authz.settings.model import Settings
from authz.storage import schema
from authz.storage.leak_memory import StoredLeakMemory
from authz.telemetry import guard_metrics as metrics
from authz.telemetry.metric import Labels, Readings
from authz.wiring.notifications import Work, all_records
from authz.wiring.process_metrics import one
from authz.wiring.store_parts import StoreParts
from authz.wiring.usage_readers import RecordedUses


@dataclass(slots=True)
class RotationWorks:
    """The endless works, and their parts for telemetry."""

    automatic: AutomaticRotation
    deliveries: DeliveredRotation
    works: list[Work] = field(default_factory=list)


def rotation_works(
    settings: Settings,
    parts: StoreParts,
    lifecycle: Lifecycle,
    deliveries: DeliveredRotation,
    clock: Clock,
    *,
    instance: str,
    is_ours: Callable[[], bool],
) -> RotationWorks:
    """Return the works: to end old secrets early, to rotate due keys, and to deliver secrets.

    How many keys were rotated within an hour is known in partition 0, for all partitions. A
    delivery that has begun goes on without any target in the settings: what becomes of the two
    secrets must be decided.
    """
    policies, client = settings.rotation.policies(), parts.clients[0]
    records = partial(all_records, Selection(parts.index, clock))
    automatic = AutomaticRotation(
        deliveries,
        lifecycle,
        records,
        policies=policies,
        rotated=StoredLeakMemory(client, schema.names_of(client).rotated),
        per_hour=settings.rotation.max_per_hour,
        clock=clock,
        writer=instance,
    )
    found = RotationWorks(automatic, deliveries, [partial(DUE_KEYS.run, automatic.look, is_ours)])
    if any(policy.retire_after_ms for policy in policies.each()):
        uses = RecordedUses(parts)
        retirement = EarlyRetirement(
            *(records, uses, lifecycle, policies), clock=clock, writer=instance
        )
        found.works.append(partial(OVERLAPS.run, retirement.look, is_ours))
    return found


def rotation_readings(rotation: RotationWorks) -> Readings:
    """Return the readers of the metrics about rotations."""
    automatic, deliveries = rotation.automatic, rotation.deliveries

    def delivered() -> Iterator[tuple[Labels, float]]:
        for arrival in Arrival:
            yield {"result": arrival.value}, deliveries.counts[arrival]

    return {
        metrics.SECRETS: delivered,
        metrics.SECRETS_PENDING: one(lambda: automatic.pending),
        metrics.SECRETS_UNDECIDED: one(lambda: automatic.undecided),
        metrics.ROTATIONS_HELD: one(lambda: automatic.held),
    }
