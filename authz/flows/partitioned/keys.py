"""Records of keys in several partitions: each is read and changed in that of its kid."""

import asyncio
from collections.abc import Mapping, Sequence

from authz.core.admin_ports import AppliedStore, BatchStore, DeletionStore, KeyStore
from authz.core.audit import AuditEntry
from authz.core.changes import KeyChange
from authz.core.deletion import Removal, RemovedEntry
from authz.core.errors import Fault, OutcomeUnknown, Unavailable
from authz.core.merging import Applied
from authz.core.partitions import Partitions
from authz.core.records import KeyRecord
from authz.core.trail.ports import AuditTrail
from authz.flows.partitioned.asking import ask, ask_all, places_of


class PartitionedKeys:
    """A KeyStore. Versions of keys of different partitions say nothing about their order."""

    def __init__(self, partitions: Partitions, parts: Sequence[KeyStore]) -> None:
        self._partitions = partitions
        self._parts = parts

    async def find(self, kid: str) -> KeyRecord | None:
        """Implement KeyStore.find."""
        at = self._partitions.of(kid)
        return await ask(at, self._parts[at].find(kid))

    async def apply(self, change: KeyChange) -> int:
        """Implement KeyStore.apply."""
        at = self._partitions.of(change.record.kid)
        return await ask(at, self._parts[at].apply(change))

    async def replicas(self, change: KeyChange, version: int) -> int | None:
        """Implement KeyStore.replicas."""
        at = self._partitions.of(change.record.kid)
        return await ask(at, self._parts[at].replicas(change, version))


class PartitionedBatches:
    """A BatchStore. The partitions work at once."""

    def __init__(self, partitions: Partitions, parts: Sequence[BatchStore]) -> None:
        self._partitions = partitions
        self._parts = parts

    async def apply_all(self, changes: Sequence[KeyChange]) -> list[int | Fault]:
        """Implement BatchStore.apply_all.

        A partition that made none of its changes returns Unavailable for each, unless no partition
        made any: then it is raised.
        """
        places = places_of(self._partitions.of(change.record.kid) for change in changes)
        outcomes = await asyncio.gather(
            *(
                ask(at, self._parts[at].apply_all([changes[place] for place in own]))
                for at, own in places.items()
            ),
            return_exceptions=True,
        )
        faults = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        for fault in faults:
            if not isinstance(fault, Unavailable) or isinstance(fault, OutcomeUnknown):
                raise fault
        if faults and len(faults) == len(outcomes):
            raise faults[0]
        found: dict[int, int | Fault] = {}
        for own, outcome in zip(places.values(), outcomes, strict=True):
            if isinstance(outcome, Unavailable):
                found |= dict.fromkeys(own, outcome)
            elif not isinstance(outcome, BaseException):
                found |= zip(own, outcome, strict=True)
        return [found[place] for place in range(len(changes))]


class PartitionedDeletions:
    """A DeletionStore."""

    def __init__(self, partitions: Partitions, parts: Sequence[DeletionStore]) -> None:
        self._partitions = partitions
        self._parts = parts

    async def entries(self, record: KeyRecord) -> Sequence[RemovedEntry]:
        """Implement DeletionStore.entries."""
        at = self._partitions.of(record.kid)
        return await ask(at, self._parts[at].entries(record))

    async def delete(self, removal: Removal) -> int:
        """Implement DeletionStore.delete."""
        at = self._partitions.of(removal.record.kid)
        return await ask(at, self._parts[at].delete(removal))


class PartitionedApplied:
    """An AppliedStore."""

    def __init__(self, partitions: Partitions, parts: Sequence[AppliedStore]) -> None:
        self._partitions = partitions
        self._parts = parts

    async def load(self) -> Mapping[str, Applied]:
        """Implement AppliedStore.load. An entry outside of its partition is left out."""
        loaded = await ask_all([part.load() for part in self._parts])
        return {
            kid: one
            for at, found in enumerate(loaded)
            for kid, one in found.items()
            if self._partitions.of(kid) == at
        }

    async def save(self, found: Mapping[str, Applied]) -> None:
        """Implement AppliedStore.save. Some may be stored if it raises."""
        shares: dict[int, dict[str, Applied]] = {}
        for kid, one in found.items():
            shares.setdefault(self._partitions.of(kid), {})[kid] = one
        for at, share in shares.items():
            await ask(at, self._parts[at].save(share))


class PartitionedHistory:
    """An AuditTrail: the entries of a key lie in its partition."""

    def __init__(self, partitions: Partitions, parts: Sequence[AuditTrail]) -> None:
        self._partitions = partitions
        self._parts = parts

    async def entry(self, kid: str, version: int) -> AuditEntry | None:
        """Implement AuditTrail.entry."""
        at = self._partitions.of(kid)
        return await ask(at, self._parts[at].entry(kid, version))
