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
    """The endless works, and their parts for telemetry. automatic: None without a target."""

    works: list[Work] = field(default_factory=list)
    automatic: AutomaticRotation | None = None
    deliveries: DeliveredRotation | None = None


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

    How many keys were rotated within an hour is known in partition 0, for all partitions.
    """
    policies, found = settings.rotation.policies(), RotationWorks(deliveries=deliveries)
    client = parts.clients[0]
    records = partial(all_records, Selection(parts.index, clock))
    if any(policy.retire_after_ms for policy in policies.each()):
        uses = RecordedUses(parts)
        retirement = EarlyRetirement(
            *(records, uses, lifecycle, policies), clock=clock, writer=instance
        )
        found.works.append(partial(OVERLAPS.run, retirement.look, is_ours))
    if settings.rotation.targets:
        found.automatic = AutomaticRotation(
            deliveries,
            lifecycle,
            records,
            policies=policies,
            rotated=StoredLeakMemory(client, schema.names_of(client).rotated),
            per_hour=settings.rotation.max_per_hour,
            clock=clock,
            writer=instance,
        )
        found.works.append(partial(DUE_KEYS.run, found.automatic.look, is_ours))
    return found


def rotation_readings(rotation: RotationWorks) -> Readings:
    """Return the readers of the metrics about rotations. Without targets all are 0."""
    automatic, deliveries = rotation.automatic, rotation.deliveries

    def delivered() -> Iterator[tuple[Labels, float]]:
        for arrival in Arrival:
            count = deliveries.counts[arrival] if deliveries else 0
            yield {"result": arrival.value}, count

    return {
        metrics.SECRETS: delivered,
        metrics.SECRETS_PENDING: one(lambda: automatic.pending if automatic else 0),
        metrics.SECRETS_UNDECIDED: one(lambda: automatic.undecided if automatic else 0),
        metrics.ROTATIONS_HELD: one(lambda: automatic.held if automatic else 0),
    }
