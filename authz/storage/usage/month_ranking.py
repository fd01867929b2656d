"""StoredRanking: reads which keys were used most in a month. lua/rankings.lua keeps them."""

from collections.abc import Sequence
from typing import Any

import redis.asyncio

from authz.core.usage.question import TopBy
from authz.storage import schema
from authz.storage.replies import checked, whole
from authz.storage.usage import rows


class StoredRanking:
    """A MonthRanking and a NumberedRanking over redis-py."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client: Any = client
        self._base = schema.names_of(client).usage

    async def ranked(self, month: int, by: TopBy) -> Sequence[str] | None:
        """Implement MonthRanking.ranked: return at most 1,000 kids, or None.

        None for months in which a meter counted that did not rank. Raises Unavailable if the store
        fails, Unreadable for a garbled start of the rankings.
        """
        if not await self._is_known(month):
            return None
        found = self._client.zrange(f"{self._base}top:{month}:{by}", 0, -1, desc=True)
        return list(await checked(found))

    async def numbered(self, month: int, by: TopBy) -> Sequence[tuple[str, int]] | None:
        """Implement NumberedRanking.numbered, as `ranked`; empty if nothing was ever counted."""
        if not await self._is_known(month):
            was_counted = await checked(self._client.exists(f"{self._base}all:y"))
            return None if was_counted else []
        name = f"{self._base}top:{month}:{by}"
        found = await checked(self._client.zrange(name, 0, -1, desc=True, withscores=True))
        return [(kid, whole(score)) for kid, score in found]

    async def _is_known(self, month: int) -> bool:
        name = f"{self._base}ranked"
        (since,) = await checked(self._client.hmget(name, "since"))
        return since is not None and month >= rows.number(name, since)
