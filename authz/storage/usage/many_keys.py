"""StoredUsageIndex: reads the usage of many keys with few round trips."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import redis.asyncio

from authz.core.usage.completeness import ProcessSeen
from authz.core.usage.counts import Counts, Level
from authz.storage import schema
from authz.storage.replies import at_one_moment, checked, whole
from authz.storage.signpost import refuse_moved
from authz.storage.usage.key_counts import commands, named, sums
from authz.storage.usage.stored_usage import StoredUsage

PAGE: Final = 2000  # kids in one reply
SECONDS_PER_MINUTE: Final = 60
LATEST: Final = 253_402_300_799  # the last second of 9999, the last one that can be shown


class StoredUsageIndex:
    """A UsageIndex and a GateProcesses over redis-py."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client: Any = client
        self._base = schema.names_of(client).usage
        self._usage = StoredUsage(client)

    async def latest(self, kids: Sequence[str]) -> Sequence[int | None]:
        """Implement UsageIndex.latest: return epoch seconds or None for each kid, in order.

        Takes one round trip, and one more if a key was never used; without kids, none. Raises
        Unavailable if the store fails, Foreign if it was moved to partitions and a time is absent.
        """
        if not kids:
            return []
        found = await checked(self._client.zmscore(f"{self._base}last", list(kids)))
        if None in found:
            await refuse_moved(self._client)
        return [None if score is None else whole(score, LATEST) for score in found]

    async def used_since(self, since: int) -> AsyncIterator[Sequence[str]]:
        """Implement UsageIndex.used_since: yield kids that were used in or after a minute.

        In the order of their latest use, in pages. A key that is used meanwhile moves to the end,
        and is found there, so a kid can come several times. Raises Unavailable.
        """
        low, size = since - since % SECONDS_PER_MINUTE, PAGE
        while True:
            page = await checked(
                self._client.zrange(
                    *(f"{self._base}last", low, "+inf"),
                    byscore=True,
                    withscores=True,
                    offset=0,
                    num=size,
                )
            )
            if page:
                yield [kid for kid, _ in page]
            if len(page) < size:
                await refuse_moved(self._client)
                return
            last = whole(page[-1][1])
            size = size * 2 if last == low else PAGE  # more keys than a page in one second
            low = last

    async def many(
        self, kids: Sequence[str], level: Level, slots: range
    ) -> Sequence[Mapping[tuple[int, str], Counts]]:
        """Implement UsageIndex.many: return for each kid, in order, its counts by slot and route.

        The route is "" except by hours. Slots without counts are left out. Raises Unavailable, and
        Unreadable for garbled counts.
        """
        groups = [commands(f"{self._base}{kid}", level, slots) for kid in kids]
        replies = await at_one_moment(self._client, groups)
        names = await self._usage.routes() if level is Level.HOUR else {}
        return [named(sums(level, slots, each), level, names) for each in replies]

    async def issued(self) -> Mapping[str, int]:
        """Implement GateProcesses.issued: return how many charge ids by the prefix of a process.

        Raises Unavailable if the store fails.
        """
        from authz.storage.issued import StoredIssued  # noqa: PLC0415  only this method needs it

        return {each.charges: each.count for each in await StoredIssued(self._client).find()}

    async def processes(self) -> Sequence[ProcessSeen]:
        """Implement GateProcesses.processes: return those whose entries came, the latest first.

        Raises Unavailable, and Unreadable for a garbled number.
        """
        return await self._usage.processes()
