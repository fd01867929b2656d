"""UsageReading: answers questions about usage, over one key, many keys or all requests."""

import heapq
from collections import defaultdict
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from authz.core.ports import Clock
from authz.core.usage.completeness import Completeness, completeness
from authz.core.usage.counts import Counts, Level
from authz.core.usage.ports import (
    DayReader,
    GateProcesses,
    MonthRanking,
    UsageIndex,
    UsageReader,
)
from authz.core.usage.question import DAY_MS, DEFAULT_MS, By, LatestUse, Report, Span, TopBy

CHUNK: Final = 500  # keys that are read at once
KEPT: Final = 1000  # keys beyond those asked for, before the list is cut

VisibleKids = Callable[[Sequence[str]], Awaitable[Sequence[str]]]
"""Return those of some kids that the reader may see."""


@dataclass(frozen=True, slots=True)
class TopKeys:
    """The keys that were used most, the first one most.

    looked_at: how many were compared, of those that the reader may see.
    """

    keys: Sequence[tuple[str, Counts]]
    looked_at: int


class UsageReading:
    """Answers questions about usage. All methods raise Unavailable, and Unreadable."""

    def __init__(
        self,
        reader: UsageReader,
        days: DayReader,
        index: UsageIndex,
        processes: GateProcesses,
        *,
        ranking: MonthRanking,
        clock: Clock,
    ) -> None:
        self._reader = reader
        self._days = days
        self._index = index
        self._processes = processes
        self._ranking = ranking
        self._clock = clock

    async def all_requests(self, span: Span, by: By) -> Report:
        """Return the usage of all requests, with and without a key."""
        if by is By.MODEL:
            groups = _by_model(await self._days.models("", span.slots))
        else:
            found = await self._reader.totals(span.level, span.slots)
            groups = _summed(
                (_group(span.level, by, slot, route, code), counts)
                for (slot, route, code), counts in found.items()
            )
        return await self._report(
            span, by, groups, keys=None, denials=await self._denials("", span)
        )

    async def of_key(self, kid: str, span: Span, by: By) -> Report:
        """Return the usage of one key, also of one that was deleted."""
        if by is By.MODEL:
            groups = _by_model(await self._days.models(kid, span.slots))
        else:
            found = await self._reader.counts(kid, span.level, span.slots)
            groups = _summed(_rows(found, span.level, by))
        return await self._report(span, by, groups, keys=1, denials=await self._denials(kid, span))

    async def of_keys(self, kids: AsyncIterable[str], span: Span, by: By) -> Report:
        """Return the usage of all these keys together. The report has no denials (None)."""
        groups: dict[int | str, Counts] = {}
        chunk, number = list[str](), 0

        async def add() -> None:
            if by is By.MODEL:
                for kid in chunk:
                    for model, counts in _by_model(
                        await self._days.models(kid, span.slots)
                    ).items():
                        groups[model] = groups.get(model, Counts()) + counts
                return
            for found in await self._index.many(chunk, span.level, span.slots):
                for group, counts in _rows(found, span.level, by):
                    groups[group] = groups.get(group, Counts()) + counts

        async for kid in kids:
            number += 1
            chunk.append(kid)
            if len(chunk) == CHUNK:
                await add()
                chunk = []
        if chunk:
            await add()
        return await self._report(span, by, groups, keys=number, denials=None)

    async def top(
        self, span: Span, by: TopBy, limit: int, visible: VisibleKids | None = None
    ) -> TopKeys:
        """Return at most `limit` keys that were used most in the span, and no key with 0.

        One month is answered from its ranking, if that has enough keys that the reader may see.
        Else every key that was used since the start of the span is read, and few of them are kept.
        visible: finds the keys that the reader may see; None: the reader may see all.
        """
        best: dict[str, Counts] = {}
        seen = 0

        def cut() -> None:
            nonlocal best
            best = dict(heapq.nlargest(limit, best.items(), key=lambda pair: by.number_of(pair[1])))

        async def add(used: Sequence[str]) -> int:
            kids = used if visible is None else await visible(used)
            rows = await self._index.many(kids, span.level, span.slots)
            for kid, found in zip(kids, rows, strict=True):
                counts = sum(found.values(), Counts())
                if by.number_of(counts):
                    best[kid] = counts
            if len(best) > limit + KEPT:
                cut()
            return len(kids)

        ranked = None
        if span.level is Level.MONTH and len(span.slots) == 1:
            ranked = await self._ranking.ranked(span.slots[0], by)
        if ranked is not None:
            shown = await add(ranked if visible else ranked[:limit])
            seen = shown if visible else len(ranked)
        if ranked is None or (visible is not None and len(best) < limit):
            best, seen = {}, 0
            async for used in self._index.used_since(span.since // 1000):
                seen += await add(used)
        cut()
        return TopKeys(tuple(best.items()), seen)

    async def sums(self, span: Span, also: Iterable[str]) -> dict[str, Counts]:
        """Return the sums of the span by kid: of every key used since its start, and of `also`.

        Keys without a request are left out.
        """
        found: dict[str, Counts] = {}

        async def add(kids: Sequence[str]) -> None:
            rows = await self._index.many(kids, span.level, span.slots)
            for kid, row in zip(kids, rows, strict=True):
                counts = sum(row.values(), Counts())
                if counts.requests:
                    found[kid] = counts

        async for kids in self._index.used_since(span.since // 1000):
            await add(kids)
        rest = [kid for kid in also if kid not in found]
        for start in range(0, len(rest), CHUNK):
            await add(rest[start : start + CHUNK])
        return found

    async def latest_use(self, kid: str) -> LatestUse:
        """Return the latest use of a key and of its secrets, denials, and the counts of 30 days.

        Today is the last of these days, in UTC.
        """
        facts = await self._reader.facts(kid)
        days = self._last_30_days()
        counts = await self._reader.counts(kid, Level.DAY, days)
        total = sum(counts.values(), Counts())
        return LatestUse(facts.latest, facts.secrets, total, facts.denials)

    async def latest_times(self, kids: Sequence[str]) -> dict[str, int]:
        """Return a time in the minute of the latest use by kid, without keys never used.

        In seconds since the epoch.
        """
        found: dict[str, int] = {}
        for start in range(0, len(kids), CHUNK):
            part = kids[start : start + CHUNK]
            times = zip(part, await self._index.latest(part), strict=True)
            found |= {kid: at for kid, at in times if at is not None}
        return found

    async def requests_of_30_days(self, kids: Sequence[str]) -> dict[str, int]:
        """Return the number of requests of the last 30 days by kid; 0 for a key without any."""
        days, found = self._last_30_days(), dict[str, int]()
        for start in range(0, len(kids), CHUNK):
            part = kids[start : start + CHUNK]
            rows = await self._index.many(part, Level.DAY, days)
            for kid, row in zip(part, rows, strict=True):
                found[kid] = sum(row.values(), Counts()).requests
        return found

    async def completeness(self) -> Completeness:
        """Return how many charge ids were issued, came and are missing, over all processes."""
        # In this order, or entries that come in between would exceed what was issued.
        found = await self._processes.processes()
        return completeness(await self._processes.issued(), found)

    def _last_30_days(self) -> range:
        today = self._clock.wall_ms() // DAY_MS
        return range(today - DEFAULT_MS // DAY_MS + 1, today + 1)

    async def _denials(self, kid: str, span: Span) -> Mapping[str, int]:
        """Return denials by reason of all days that the span touches."""
        sums: dict[str, int] = defaultdict(int)
        for day in (await self._days.days(kid, span.days)).values():
            for reason, number in day.denials.items():
                sums[reason] += number
        return dict(sorted(sums.items()))

    async def _report(
        self,
        span: Span,
        by: By,
        groups: Mapping[int | str, Counts],
        *,
        keys: int | None,
        denials: Mapping[str, int] | None,
    ) -> Report:
        return Report(
            span=span,
            by=by,
            groups=dict(sorted(groups.items())),
            total=sum(groups.values(), Counts()),
            keys=keys,
            denials=denials,
            completeness=await self.completeness(),
        )


def _by_model(found: Mapping[tuple[int, str], Counts]) -> dict[int | str, Counts]:
    return _summed((model, counts) for (_, model), counts in found.items())


def _group(level: Level, by: By, slot: int, route: str, code: str = "") -> int | str:
    if by is By.ROUTE:
        return route
    return code if by is By.STATUS else level.starts_at(slot)


def _rows(
    found: Mapping[tuple[int, str], Counts], level: Level, by: By
) -> Iterable[tuple[int | str, Counts]]:
    for (slot, route), counts in found.items():
        yield _group(level, by, slot, route), counts


def _summed(rows: Iterable[tuple[int | str, Counts]]) -> dict[int | str, Counts]:
    groups: dict[int | str, Counts] = {}
    for group, counts in rows:
        groups[group] = groups.get(group, Counts()) + counts
    return groups
