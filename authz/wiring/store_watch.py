"""StoreWatch: knows of each partition whether it is reachable and ours, for `authz admin`."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence

from authz.core.errors import Unavailable
from authz.storage.meta_watch import MetaWatch


class MissingPartitions(Mapping[int, Unavailable]):
    """The partitions that cannot be used now, with the cause."""

    def __init__(self, watches: Sequence[MetaWatch]) -> None:
        self._watches = watches

    def __getitem__(self, at: int) -> Unavailable:
        """Return the cause. Raises KeyError for a partition that can be used."""
        if self._watches[at].is_current:
            raise KeyError(at)
        return Unavailable(self._watches[at].reason or "it was not read lately")

    def __iter__(self) -> Iterator[int]:
        """Yield the numbers of these partitions."""
        return (at for at, watch in enumerate(self._watches) if not watch.is_current)

    def __len__(self) -> int:
        """Return how many there are."""
        return sum(not watch.is_current for watch in self._watches)


class StoreWatch:
    """The watches of all partitions. meta: that of partition 0, for peppers and signing keys."""

    def __init__(self, watches: Sequence[MetaWatch]) -> None:
        self._watches = watches
        self.meta = watches[0].meta
        self.missing = MissingPartitions(watches)

    @property
    def is_current(self) -> bool:
        """True if at least one partition can be used."""
        return any(watch.is_current for watch in self._watches)

    @property
    def reason(self) -> str:
        """Why partitions cannot be used; empty if all can."""
        if len(self._watches) == 1:
            return "" if self.is_current else self._watches[0].reason
        return "; ".join(f"partition {at}: {cause}" for at, cause in self.missing.items())

    def is_usable(self, at: int) -> bool:
        """Return whether this partition can be used."""
        return self._watches[at].is_current

    def may_have_moved(self, at: int) -> bool:
        """Return whether this partition may have moved keys, by what was read last."""
        return self._watches[at].meta.may_have_moved

    async def look(self) -> None:
        """Read each partition once. A failure is not raised."""
        await asyncio.gather(*(watch.look() for watch in self._watches))

    async def run(self) -> None:
        """Read again and again, until cancelled."""
        await asyncio.gather(*(watch.run() for watch in self._watches))
