"""The parts of the store for commands and the admin API, over one partition or several.

With one partition they are the stored parts themselves. With several, parts that route by kid or
merge stand in front of them. Each is made, and its modules are imported, when it is first asked
for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, cast

from authz.core.partitions import ONE
from authz.storage.endpoint import Client
from authz.storage.keys import StoredKeys
from authz.wiring.divided_store import DividedStore

if TYPE_CHECKING:
    from authz.core.admin_ports import (
        AppliedStore,
        BatchStore,
        DeletionStore,
        ImportStore,
        KeyIndex,
        KeyStore,
        SidecarRegistry,
    )
    from authz.core.limits.ports import CreditCounters
    from authz.core.trail.ports import AuditTrail
    from authz.core.usage.ports import UsageEraser
    from authz.flows.confirmation import FleetWait
    from authz.flows.deletion import Deletion
    from authz.flows.delivery_ports import PendingDeliveries
    from authz.flows.partitioned.limits import Counters
    from authz.flows.store_in_force import StoreInForce
    from authz.flows.usage.command_ports import UseReader

S = TypeVar("S")


@dataclass(frozen=True)
class StoreParts(DividedStore):
    """The parts over all partitions. Those partitions that could be read are ours.

    in_force: of a store with one partition, which may be moved: then the parts that take rights
    away, and those that are used together with them, are those of the store that is in force.
    """

    in_force: "StoreInForce[StoreParts] | None" = None

    def following(self, make: "Callable[[StoreParts], S]") -> S:
        """Return a part, which goes on in the partitions if the store is moved to more.

        All its methods have to be coroutines. While the store is frozen, they wait.
        """
        if self.in_force is None:
            return make(self)
        from authz.flows.store_in_force import PartInForce  # noqa: PLC0415

        return cast("S", PartInForce(self.in_force, make))

    @classmethod
    def of_one(cls, client: Client, *, has_replicas: bool = False) -> "StoreParts":
        """Return the only partition of a store, whose client this is."""
        return cls(ONE, (client,), (StoredKeys(client, has_replicas=has_replicas),), {})

    @property
    def keys(self) -> "KeyStore":
        """The records."""
        if self.in_force is not None:
            from authz.flows.store_in_force import KeysInForce  # noqa: PLC0415

            return KeysInForce(self.in_force, lambda parts: parts.keys)
        parts = self._usable(self.stores)
        if len(parts) == 1:
            return parts[0]
        from authz.flows.partitioned.keys import PartitionedKeys  # noqa: PLC0415

        return PartitionedKeys(self.places, parts)

    @property
    def batches(self) -> "BatchStore":
        """Changes of many keys."""
        if self.in_force is not None:
            from authz.flows.store_in_force import BatchesInForce  # noqa: PLC0415

            return BatchesInForce(self.in_force, lambda parts: parts.batches)
        from authz.storage.batches import StoredBatches  # noqa: PLC0415

        parts = self.each(StoredBatches)
        if len(parts) == 1:
            return parts[0]
        from authz.flows.partitioned.keys import PartitionedBatches  # noqa: PLC0415

        return PartitionedBatches(self.places, parts)

    @property
    def index(self) -> "KeyIndex":
        """The lists of keys."""
        if self.in_force is not None:
            return self.following(lambda parts: parts.index)
        from authz.storage.listing import StoredIndex  # noqa: PLC0415

        parts = self.each(StoredIndex)
        if len(parts) == 1:
            return parts[0]
        from authz.flows.partitioned.index import PartitionedIndex  # noqa: PLC0415

        return PartitionedIndex(self.places, parts)

    @property
    def history(self) -> "AuditTrail":
        """The audit entries of keys."""
        if self.in_force is not None:
            return self.following(lambda parts: parts.history)
        from authz.storage.listing import StoredTrail  # noqa: PLC0415

        parts = self.each(StoredTrail)
        if len(parts) == 1:
            return parts[0]
        from authz.flows.partitioned.keys import PartitionedHistory  # noqa: PLC0415

        return PartitionedHistory(self.places, parts)

    @property
    def registry(self) -> "SidecarRegistry":
        """The sidecars."""
        from authz.storage.registry import StoredSidecars  # noqa: PLC0415

        parts = self.each(StoredSidecars)
        if len(parts) == 1:
            return parts[0]
        from authz.flows.partitioned.fleet import PartitionedSidecars  # noqa: PLC0415

        return PartitionedSidecars(self.places, parts)

    @property
    def wait(self) -> "FleetWait":
        """The wait for the sidecars after a change."""
        if self.in_force is not None:
            return self.following(lambda parts: parts.wait)
        from authz.flows.confirmation import SidecarWait  # noqa: PLC0415
        from authz.storage.listing import StoredTrail  # noqa: PLC0415
        from authz.storage.registry import StoredSidecars  # noqa: PLC0415

        def wait(client: Client) -> SidecarWait:
            return SidecarWait(StoredSidecars(client), StoredTrail(client), self.clock)

        parts = self.each(wait)
        if len(parts) == 1:
            return parts[0]
        from authz.flows.partitioned.fleet import PartitionedWait  # noqa: PLC0415

        return PartitionedWait(self.places, parts)

    @property
    def counters(self) -> "Counters":
        """The counters of limits."""
        from authz.storage.limits.stored_counters import StoredCounters  # noqa: PLC0415

        parts = self.each(StoredCounters)
        if len(parts) == 1:
            return parts[0]
        from authz.flows.partitioned.limits import PartitionedCounters  # noqa: PLC0415

        return PartitionedCounters(self.places, parts)

    @property
    def credits(self) -> "CreditCounters":
        """The used credits."""
        from authz.storage.limits.stored_counters import StoredCredits  # noqa: PLC0415

        parts = self.each(StoredCredits)
        if len(parts) == 1:
            return parts[0]
        from authz.flows.partitioned.limits import PartitionedCredits  # noqa: PLC0415

        return PartitionedCredits(self.places, parts)

    @property
    def eraser(self) -> "UsageEraser":
        """The eraser of facts about callers."""
        from authz.storage.usage.erasing import StoredEraser  # noqa: PLC0415

        parts = self.each(StoredEraser)
        if len(parts) == 1:
            return parts[0]
        from authz.flows.partitioned.usage import PartitionedEraser  # noqa: PLC0415

        return PartitionedEraser(self.places, parts)

    @property
    def uses(self) -> "UseReader":
        """The latest use of keys, and their requests."""
        from authz.wiring.usage_readers import usage_reading  # noqa: PLC0415

        return usage_reading(self)

    @property
    def pending_deliveries(self) -> "PendingDeliveries":
        """The deliveries of new secrets that have begun."""
        from authz.storage.deliveries import StoredDeliveries  # noqa: PLC0415

        parts = self.each(StoredDeliveries)
        if len(parts) == 1:
            return parts[0]
        from authz.flows.partitioned.deliveries import PartitionedDeliveries  # noqa: PLC0415

        return PartitionedDeliveries(self.places, parts)

    @property
    def deletions(self) -> "DeletionStore":
        """Deletions of records."""
        from authz.storage.deletions import StoredDeletions  # noqa: PLC0415

        parts = self.each(StoredDeletions)
        if len(parts) == 1:
            return parts[0]
        from authz.flows.partitioned.keys import PartitionedDeletions  # noqa: PLC0415

        return PartitionedDeletions(self.places, parts)

    @property
    def deletion(self) -> "Deletion":
        """The flow that deletes keys."""
        from authz.flows.deletion import Deletion  # noqa: PLC0415

        return Deletion(self.keys, self.deletions, self.eraser, self.clock)

    @property
    def applied(self) -> "AppliedStore":
        """The fields of keys as a file last declared them."""
        if self.in_force is not None:
            return self.following(lambda parts: parts.applied)
        from authz.storage.applied import StoredApplied  # noqa: PLC0415

        parts = self.each(StoredApplied)
        if len(parts) == 1:
            return parts[0]
        from authz.flows.partitioned.keys import PartitionedApplied  # noqa: PLC0415

        return PartitionedApplied(self.places, parts)

    @property
    def imports(self) -> "ImportStore":
        """Imported keys."""
        from authz.storage.imports import StoredImports  # noqa: PLC0415

        parts = self.each(StoredImports)
        if len(parts) == 1:
            return parts[0]
        from authz.flows.partitioned.imports import PartitionedImports  # noqa: PLC0415
        from authz.storage.claims import StoredClaims  # noqa: PLC0415

        return PartitionedImports(self.places, parts, self.each(StoredClaims), self.clock)
