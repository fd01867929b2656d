"""The parts of the store for commands and the admin API, over one partition or several.

With one partition they are the stored parts themselves. With several, parts that route by kid or
merge stand in front of them. Each is made, and its modules are imported, when it is first asked
for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, cast

from authz.core.errors import Unavailable
from authz.core.partitions import ONE, Partitions
from authz.core.ports import Clock
from authz.process.clock import SystemClock
from authz.storage.endpoint import Client
from authz.storage.keys import StoredKeys
from authz.wiring.missing_parts import LivePart, MissingPart, refuse_several

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
    from authz.core.declared_changes import AsOf
    from authz.core.limits.ports import CreditCounters
    from authz.core.trail.ports import AuditTrail
    from authz.core.usage.ports import UsageEraser
    from authz.flows.confirmation import FleetWait
    from authz.flows.deletion import Deletion
    from authz.flows.delivered_rotation import PendingDeliveries
    from authz.flows.partitioned.limits import Counters
    from authz.flows.usage.command_ports import UseReader

S = TypeVar("S")
J = TypeVar("J")


@dataclass(frozen=True)
class StoreParts:
    """The partitions of the store, in order. Those that could be read are ours.

    clients, stores: one for each. missing: the cause why a partition cannot be used, by its number.
    is_live: `missing` changes, in a long process.
    """

    partitions: Partitions
    clients: tuple[Client, ...]
    stores: tuple[StoredKeys, ...]
    missing: Mapping[int, Unavailable]
    clock: Clock = field(default_factory=SystemClock)
    is_live: bool = False

    @classmethod
    def of_one(cls, client: Client, *, has_replicas: bool = False) -> "StoreParts":
        """Return the only partition of a store, whose client this is."""
        return cls(ONE, (client,), (StoredKeys(client, has_replicas=has_replicas),), {})

    @property
    def only(self) -> Client:
        """The client of a store with one partition, for work that knows no partitions.

        Raises BadInput if there are several.
        """
        if self.partitions.count > 1:
            refuse_several(self.partitions.count)
        return self.clients[0]

    def each(self, make: Callable[[Client], S]) -> Sequence[S]:
        """Return a part of each partition, or what stands for it if it cannot be used."""
        return self._usable([make(client) for client in self.clients])

    def at_first(self, make: Callable[[Client], S]) -> S:
        """Return the part of partition 0, which has all that belongs to no key."""
        return self._usable([make(self.clients[0])])[0]

    def joined(self, parts: Sequence[S], join: Callable[[Partitions, Sequence[S]], J]) -> S | J:
        """Return the part of the only partition, or what `join` makes of those of several."""
        return parts[0] if len(parts) == 1 else join(self.partitions, parts)

    def _usable(self, parts: Sequence[S]) -> Sequence[S]:
        if self.is_live:
            return [cast("S", LivePart(part, at, self.missing)) for at, part in enumerate(parts)]
        if not self.missing:
            return parts
        return [
            cast("S", MissingPart(self.missing[at])) if at in self.missing else part
            for at, part in enumerate(parts)
        ]

    @property
    def keys(self) -> "KeyStore":
        """The records."""
        parts = self._usable(self.stores)
        if len(parts) == 1:
            return parts[0]
        from authz.flows.partitioned.keys import PartitionedKeys  # noqa: PLC0415

        return PartitionedKeys(self.partitions, parts)

    @property
    def batches(self) -> "BatchStore":
        """Changes of many keys."""
        from authz.storage.batches import StoredBatches  # noqa: PLC0415

        parts = self.each(StoredBatches)
        if len(parts) == 1:
            return parts[0]
        from authz.flows.partitioned.keys import PartitionedBatches  # noqa: PLC0415

        return PartitionedBatches(self.partitions, parts)

    @property
    def index(self) -> "KeyIndex":
        """The lists of keys."""
        from authz.storage.listing import StoredIndex  # noqa: PLC0415

        parts = self.each(StoredIndex)
        if len(parts) == 1:
            return parts[0]
        from authz.flows.partitioned.index import PartitionedIndex  # noqa: PLC0415

        return PartitionedIndex(self.partitions, parts)

    @property
    def history(self) -> "AuditTrail":
        """The audit entries of keys."""
        from authz.storage.listing import StoredTrail  # noqa: PLC0415

        parts = self.each(StoredTrail)
        if len(parts) == 1:
            return parts[0]
        from authz.flows.partitioned.keys import PartitionedHistory  # noqa: PLC0415

        return PartitionedHistory(self.partitions, parts)

    @property
    def registry(self) -> "SidecarRegistry":
        """The sidecars."""
        from authz.storage.registry import StoredSidecars  # noqa: PLC0415

        parts = self.each(StoredSidecars)
        if len(parts) == 1:
            return parts[0]
        from authz.flows.partitioned.fleet import PartitionedSidecars  # noqa: PLC0415

        return PartitionedSidecars(self.partitions, parts)

    @property
    def wait(self) -> "FleetWait":
        """The wait for the sidecars after a change."""
        from authz.flows.confirmation import SidecarWait  # noqa: PLC0415
        from authz.storage.listing import StoredTrail  # noqa: PLC0415
        from authz.storage.registry import StoredSidecars  # noqa: PLC0415

        def wait(client: Client) -> SidecarWait:
            return SidecarWait(StoredSidecars(client), StoredTrail(client), self.clock)

        parts = self.each(wait)
        if len(parts) == 1:
            return parts[0]
        from authz.flows.partitioned.fleet import PartitionedWait  # noqa: PLC0415

        return PartitionedWait(self.partitions, parts)

    @property
    def counters(self) -> "Counters":
        """The counters of limits."""
        from authz.storage.limits.stored_counters import StoredCounters  # noqa: PLC0415

        parts = self.each(StoredCounters)
        if len(parts) == 1:
            return parts[0]
        from authz.flows.partitioned.limits import PartitionedCounters  # noqa: PLC0415

        return PartitionedCounters(self.partitions, parts)

    @property
    def credits(self) -> "CreditCounters":
        """The used credits."""
        from authz.storage.limits.stored_counters import StoredCredits  # noqa: PLC0415

        parts = self.each(StoredCredits)
        if len(parts) == 1:
            return parts[0]
        from authz.flows.partitioned.limits import PartitionedCredits  # noqa: PLC0415

        return PartitionedCredits(self.partitions, parts)

    @property
    def eraser(self) -> "UsageEraser":
        """The eraser of facts about callers."""
        from authz.storage.usage.erasing import StoredEraser  # noqa: PLC0415

        parts = self.each(StoredEraser)
        if len(parts) == 1:
            return parts[0]
        from authz.flows.partitioned.usage import PartitionedEraser  # noqa: PLC0415

        return PartitionedEraser(self.partitions, parts)

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

        return PartitionedDeliveries(self.partitions, parts)

    @property
    def deletions(self) -> "DeletionStore":
        """Deletions of records."""
        from authz.storage.deletions import StoredDeletions  # noqa: PLC0415

        parts = self.each(StoredDeletions)
        if len(parts) == 1:
            return parts[0]
        from authz.flows.partitioned.keys import PartitionedDeletions  # noqa: PLC0415

        return PartitionedDeletions(self.partitions, parts)

    @property
    def deletion(self) -> "Deletion":
        """The flow that deletes keys."""
        from authz.flows.deletion import Deletion  # noqa: PLC0415

        return Deletion(self.keys, self.deletions, self.eraser, self.clock)

    @property
    def applied(self) -> "AppliedStore":
        """The fields of keys as a file last declared them."""
        from authz.storage.applied import StoredApplied  # noqa: PLC0415

        parts = self.each(StoredApplied)
        if len(parts) == 1:
            return parts[0]
        from authz.flows.partitioned.keys import PartitionedApplied  # noqa: PLC0415

        return PartitionedApplied(self.partitions, parts)

    @property
    def imports(self) -> "ImportStore":
        """Imported keys."""
        from authz.storage.imports import StoredImports  # noqa: PLC0415

        parts = self.each(StoredImports)
        if len(parts) == 1:
            return parts[0]
        from authz.flows.partitioned.imports import PartitionedImports  # noqa: PLC0415
        from authz.storage.claims import StoredClaims  # noqa: PLC0415

        return PartitionedImports(self.partitions, parts, self.each(StoredClaims), self.clock)

    @property
    def first(self) -> Client:
        """The client of partition 0, which has all that belongs to no key. Raises as `client`."""
        return self.client(0)

    def client(self, at: int) -> Client:
        """Return the client of a partition. Raises Unavailable if that cannot be used."""
        if at in self.missing:
            raise Unavailable(f"partition {at}: {self.missing[at]}")
        return self.clients[at]

    async def peppers(self) -> dict[str, str]:
        """Return the fingerprints of peppers by version, which all partitions have in common.

        Raises Unavailable.
        """
        return await next(
            store for at, store in enumerate(self.stores) if at not in self.missing
        ).peppers()

    async def sequence(self) -> "AsOf":
        """Return the number of the last change, of each partition if there are several.

        Raises Unavailable.
        """
        found = [await store.sequence() for store in self._usable(self.stores)]
        return found[0] if len(found) == 1 else tuple(found)

    async def has_imports(self) -> bool:
        """Return whether keys may have been imported. Raises Unavailable."""
        return any([await store.has_imports() for store in self._usable(self.stores)])
