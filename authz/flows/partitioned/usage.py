"""Usage in several partitions: that of a key lies in its partition, sums lie in each.

A partition that cannot be read makes every sum fail: a number without it would be wrong.
"""

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from heapq import merge
from itertools import islice, takewhile
from typing import Any, Final, Protocol, TypeVar

from authz.core.changes import Author
from authz.core.usage.billing.differences import KeyHours
from authz.core.usage.billing.ports import ClosedHours
from authz.core.usage.completeness import ProcessSeen, joined
from authz.core.usage.counts import Counts, Level
from authz.core.usage.ports import (
    DayFacts,
    DayReader,
    GateProcesses,
    KeyFacts,
    UsageEraser,
    UsageIndex,
    UsageReader,
)
from authz.core.usage.question import TopBy
from authz.flows.partitioned.asking import ask, ask_all, ask_each
from authz.flows.partitioned.places import Places
from authz.flows.usage.erasure import Erasure

T = TypeVar("T")
K = TypeVar("K")

MOST: Final = 1000  # keys of a merged ranking
CUT: Final = 500  # keys from which the ranking of a partition may have left some out


class StoredSums(UsageReader, DayReader, Protocol):
    """All that is asked of the counts of one partition."""

    async def sums(self) -> Mapping[str, int]:
        """Return the sums over all time, such as `misdated`."""
        ...


class StoredIndex(UsageIndex, GateProcesses, Protocol):
    """All that is asked of the usage of many keys of one partition."""


class NumberedRanking(Protocol):
    """Reads a ranking with its numbers."""

    async def numbered(self, month: int, by: TopBy) -> Sequence[tuple[str, int]] | None:
        """Return the keys of `MonthRanking.ranked`, each with its number."""
        ...


class PartitionedUsage:
    """A UsageReader and a DayReader."""

    def __init__(self, places: Places, parts: Sequence[StoredSums]) -> None:
        self._places = places
        self._parts = parts

    async def counts(
        self, kid: str, level: Level, slots: range
    ) -> Mapping[tuple[int, str], Counts]:
        """Implement UsageReader.counts."""
        return await self._of(kid, lambda part: part.counts(kid, level, slots))

    async def totals(self, level: Level, slots: range) -> Mapping[tuple[int, str, str], Counts]:
        """Implement UsageReader.totals."""
        return _added(await ask_all([part.totals(level, slots) for part in self._parts]))

    async def facts(self, kid: str) -> KeyFacts:
        """Implement UsageReader.facts."""
        return await self._of(kid, lambda part: part.facts(kid))

    async def days(self, kid: str, days: range) -> Mapping[int, DayFacts]:
        """Implement DayReader.days."""
        if kid:
            return await self._of(kid, lambda part: part.days(kid, days))
        found: dict[int, dict[str, int]] = {}
        for each in await ask_all([part.days("", days) for part in self._parts]):
            for day, facts in each.items():
                sums = found.setdefault(day, {})
                for reason, number in facts.denials.items():
                    sums[reason] = sums.get(reason, 0) + number
        return {day: DayFacts(denials, 0) for day, denials in sorted(found.items())}

    async def models(self, kid: str, days: range) -> Mapping[tuple[int, str], Counts]:
        """Implement DayReader.models."""
        if kid:
            return await self._of(kid, lambda part: part.models(kid, days))
        return _added(await ask_all([part.models("", days) for part in self._parts]))

    async def sums(self) -> Mapping[str, int]:
        """Return the sums over all time, over all partitions."""
        found: dict[str, int] = {}
        for each in await ask_all([part.sums() for part in self._parts]):
            for name, number in each.items():
                found[name] = found.get(name, 0) + number
        return found

    async def _of(self, kid: str, read: Callable[[StoredSums], Coroutine[Any, Any, T]]) -> T:
        at = await self._places.of(kid)
        return await ask(at, read(self._parts[at]))


class PartitionedUsageIndex:
    """A UsageIndex and a GateProcesses.

    A process of the gate has other charge ids in each partition. One of before a move of the store
    can be in several lists.
    """

    def __init__(self, places: Places, parts: Sequence[StoredIndex]) -> None:
        self._places = places
        self._parts = parts

    async def latest(self, kids: Sequence[str]) -> Sequence[int | None]:
        """Implement UsageIndex.latest."""
        homes = await self._places.of_all(kids)
        return await ask_each(kids, homes, lambda at, own: self._parts[at].latest(own))

    async def used_since(self, since: int) -> AsyncIterator[Sequence[str]]:
        """Implement UsageIndex.used_since: the lists of one partition after the other."""
        for at, part in enumerate(self._parts):
            lists = part.used_since(since)
            while (kids := await ask(at, anext(lists, None))) is not None:
                yield kids

    async def many(
        self, kids: Sequence[str], level: Level, slots: range
    ) -> Sequence[Mapping[tuple[int, str], Counts]]:
        """Implement UsageIndex.many."""
        homes = await self._places.of_all(kids)
        return await ask_each(kids, homes, lambda at, own: self._parts[at].many(own, level, slots))

    async def issued(self) -> Mapping[str, int]:
        """Implement GateProcesses.issued."""
        found = await ask_all([part.issued() for part in self._parts])
        return {process: number for each in found for process, number in each.items()}

    async def processes(self) -> Sequence[ProcessSeen]:
        """Implement GateProcesses.processes."""
        found = await ask_all([part.processes() for part in self._parts])
        return joined(process for each in found for process in each)


class PartitionedRanking:
    """A MonthRanking."""

    def __init__(self, places: Places, parts: Sequence[NumberedRanking]) -> None:
        del places
        self._parts = parts

    async def ranked(self, month: int, by: TopBy) -> Sequence[str] | None:
        """Implement MonthRanking.ranked; None if one partition does not know the month.

        The ranking of a partition may lack keys that have at most the number of its last one. So
        the merged one ends at the largest of these numbers.
        """
        found = await ask_all([part.numbered(month, by) for part in self._parts])
        lists = [each for each in found if each is not None]
        if len(lists) < len(found):
            return None
        floor = max((each[-1][1] for each in lists if len(each) >= CUT), default=0)
        ordered = merge(*lists, key=lambda pair: pair[1], reverse=True)
        return [kid for kid, _ in islice(takewhile(lambda pair: pair[1] >= floor, ordered), MOST)]


class PartitionedClosedHours:
    """A ClosedHours."""

    def __init__(self, places: Places, parts: Sequence[ClosedHours]) -> None:
        self._places = places
        self._parts = parts

    async def now_ms(self) -> int:
        """Implement ClosedHours.now_ms: an hour is closed when it is by every clock."""
        return min(await ask_all([part.now_ms() for part in self._parts]))

    async def read(self, kids: Sequence[str], hours: range) -> Sequence[KeyHours]:
        """Implement ClosedHours.read."""
        homes = await self._places.of_all(kids)
        return await ask_each(kids, homes, lambda at, own: self._parts[at].read(own, hours))


class PartitionedEraser:
    """A UsageEraser."""

    def __init__(self, places: Places, parts: Sequence[UsageEraser]) -> None:
        self._places = places
        self._parts = parts

    async def erase(self, kid: str, today: int, *, permanently: bool = False) -> int:
        """Implement UsageEraser.erase."""
        at = await self._places.of(kid)
        return await ask(at, self._parts[at].erase(kid, today, permanently=permanently))

    async def keep_again(self, kid: str) -> None:
        """Implement UsageEraser.keep_again."""
        at = await self._places.of(kid)
        await ask(at, self._parts[at].keep_again(kid))


class PartitionedErasure:
    """Erases the facts about callers of a key. The trail of its partition has the row."""

    def __init__(self, places: Places, parts: Sequence[Erasure]) -> None:
        self._places = places
        self._parts = parts

    async def erase(self, kid: str, author: Author) -> int:
        """Erase the facts, as UsageErasure.erase."""
        at = await self._places.of(kid)
        return await ask(at, self._parts[at].erase(kid, author))


def _added(found: Sequence[Mapping[K, Counts]]) -> dict[K, Counts]:
    sums: dict[K, Counts] = {}
    for each in found:
        for case, counts in each.items():
            sums[case] = sums.get(case, Counts()) + counts
    return sums
