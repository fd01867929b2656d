"""Records of keys in several partitions: each is read and changed in the home of its owner."""

import asyncio
from collections.abc import Mapping, Sequence

from authz.core.admin_ports import AppliedStore, BatchStore, DeletionStore, KeyStore
from authz.core.audit import AuditEntry
from authz.core.changes import KeyChange
from authz.core.deletion import Removal, RemovedEntry
from authz.core.errors import Fault, OutcomeUnknown, Unavailable, Unreadable
from authz.core.merging import Applied
from authz.core.records import KeyRecord
from authz.core.trail.ports import AuditTrail
from authz.flows.partitioned.asking import ask, ask_all, places_of
from authz.flows.partitioned.places import Places


class PartitionedKeys:
    """A KeyStore. Versions of keys of different partitions say nothing about their order.

    If it is not known where a key lies, because a partition is away or its entry is spoiled, the
    key is looked for in every partition. So it can be revoked then, too.
    """

    def __init__(self, places: Places, parts: Sequence[KeyStore]) -> None:
        self._places = places
        self._home_of = places.partitions.home_of
        self._parts = parts

    async def find(self, kid: str) -> KeyRecord | None:
        """Implement KeyStore.find."""
        try:
            at = await self._places.of(kid)
        except Unavailable:
            if (record := await self._look_for(kid)) is not None:
                return record
            raise
        return await ask(at, self._parts[at].find(kid))

    async def apply(self, change: KeyChange) -> int:
        """Implement KeyStore.apply."""
        at = self._home_of(change.record)
        return await ask(at, self._parts[at].apply(change))

    async def replicas(self, change: KeyChange, version: int) -> int | None:
        """Implement KeyStore.replicas."""
        at = self._home_of(change.record)
        return await ask(at, self._parts[at].replicas(change, version))

    async def _look_for(self, kid: str) -> KeyRecord | None:
        """Return the record from the partition that has it; None if none says so."""
        asked = await asyncio.gather(
            *(part.find(kid) for part in self._parts), return_exceptions=True
        )
        for at, found in enumerate(asked):
            if isinstance(found, KeyRecord):
                self._places.note(kid, at)
                return found
            if isinstance(found, Unreadable):
                raise found
            if isinstance(found, BaseException) and not isinstance(found, Unavailable):
                raise found
        return None


class PartitionedBatches:
    """A BatchStore. The partitions work at once."""

    def __init__(self, places: Places, parts: Sequence[BatchStore]) -> None:
        self._places = places
        self._parts = parts

    async def apply_all(self, changes: Sequence[KeyChange]) -> list[int | Fault]:
        """Implement BatchStore.apply_all.

        A partition that made none of its changes returns Unavailable for each, unless no partition
        made any: then it is raised.
        """
        home_of = self._places.partitions.home_of
        places = places_of(home_of(change.record) for change in changes)
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

    def __init__(self, places: Places, parts: Sequence[DeletionStore]) -> None:
        self._places = places
        self._parts = parts

    async def entries(self, record: KeyRecord) -> Sequence[RemovedEntry]:
        """Implement DeletionStore.entries."""
        at = self._places.partitions.home_of(record)
        return await ask(at, self._parts[at].entries(record))

    async def delete(self, removal: Removal) -> int:
        """Implement DeletionStore.delete."""
        at = self._places.partitions.home_of(removal.record)
        return await ask(at, self._parts[at].delete(removal))


class PartitionedApplied:
    """An AppliedStore."""

    def __init__(self, places: Places, parts: Sequence[AppliedStore]) -> None:
        self._places = places
        self._parts = parts

    async def load(self) -> Mapping[str, Applied]:
        """Implement AppliedStore.load. An entry outside of its partition is left out."""
        loaded = await ask_all([part.load() for part in self._parts])
        kids = list({kid for found in loaded for kid in found})
        places = zip(kids, await self._places.of_all(kids), strict=True)
        return {kid: loaded[at][kid] for kid, at in places if kid in loaded[at]}

    async def save(self, found: Mapping[str, Applied]) -> None:
        """Implement AppliedStore.save. Some may be stored if it raises."""
        shares: dict[int, dict[str, Applied]] = {}
        places = await self._places.of_all(list(found))
        for at, (kid, one) in zip(places, found.items(), strict=True):
            shares.setdefault(at, {})[kid] = one
        for at, share in shares.items():
            await ask(at, self._parts[at].save(share))


class PartitionedHistory:
    """An AuditTrail: the entries of a key lie in its partition.

    Those from the time with one partition lie in partition 0.
    """

    def __init__(self, places: Places, parts: Sequence[AuditTrail]) -> None:
        self._places = places
        self._parts = parts

    async def entry(self, kid: str, version: int) -> AuditEntry | None:
        """Implement AuditTrail.entry."""
        for at in await self._places.trails(kid):
            if (entry := await ask(at, self._parts[at].entry(kid, version))) is not None:
                return entry
        return None
