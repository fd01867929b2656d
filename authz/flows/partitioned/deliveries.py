"""Deliveries of new secrets in several partitions: that of a key is begun in its partition."""

from collections.abc import Mapping, Sequence

from authz.flows.delivery_ports import PendingDeliveries
from authz.flows.partitioned.asking import ask, ask_all
from authz.flows.partitioned.places import Places


class PartitionedDeliveries:
    """A PendingDeliveries."""

    def __init__(self, places: Places, parts: Sequence[PendingDeliveries]) -> None:
        self._places = places
        self._parts = parts

    async def begin(self, kid: str, entry: str) -> str:
        """Implement PendingDeliveries.begin."""
        at = await self._places.of(kid)
        return await ask(at, self._parts[at].begin(kid, entry))

    async def all(self) -> Mapping[str, str]:
        """Implement PendingDeliveries.all. Raises Unavailable if one partition is missing."""
        found = await ask_all([part.all() for part in self._parts])
        return {kid: entry for each in found for kid, entry in each.items()}

    async def compare_and_set(self, kid: str, known: str, new: str | None) -> bool:
        """Implement PendingDeliveries.compare_and_set."""
        at = await self._places.of(kid)
        return await ask(at, self._parts[at].compare_and_set(kid, known, new))
