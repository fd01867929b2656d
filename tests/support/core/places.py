"""Places of keys, with moved keys in memory."""

from collections.abc import Mapping, Sequence

from authz.core.errors import Unreadable
from authz.core.partitions import Partitions
from authz.flows.partitioned.places import Places


class MemoryMoved:
    """A MovedKeys in memory, of one partition. entries: may be spoiled."""

    def __init__(self, partition: int, count: int, entries: Mapping[str, int] = {}) -> None:
        self.partition, self.count = partition, count
        self.entries = dict(entries)
        self.asked: list[str] = []

    async def find(self, kids: Sequence[str]) -> list[int | None]:
        """Implement MovedKeys.find."""
        self.asked += kids
        found = [self.entries.get(kid) for kid in kids]
        others = set(range(self.count)) - {self.partition}
        if any(at is not None and at not in others for at in found):
            raise Unreadable("an entry is garbled")
        return found

    async def save(self, found: Mapping[str, int]) -> None:
        """Write these entries; others stay."""
        self.entries |= found


def places_of(count: int, moved: Mapping[str, int] = {}, *, has_moved: bool = True) -> Places:
    """Return the places of a store where these keys are moved."""
    of = Partitions(count).of
    parts = [
        MemoryMoved(at, count, {kid: to for kid, to in moved.items() if of(kid) == at})
        for at in range(count)
    ]
    return Places(Partitions(count), parts, lambda _: has_moved)
