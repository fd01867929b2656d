"""StoredRanking: reads which keys were used most in a month. lua/rankings.lua keeps them."""

from collections.abc import Sequence
from typing import Any

import redis.asyncio

from authz.core.usage.question import TopBy
from authz.storage import schema
from authz.storage.replies import checked
from authz.storage.usage import rows


class StoredRanking:
    """A MonthRanking over redis-py."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client: Any = client
        self._base = schema.names_of(client).usage

    async def ranked(self, month: int, by: TopBy) -> Sequence[str] | None:
        """Implement MonthRanking.ranked: return at most 1,000 kids, or None.

        None for months in which a meter counted that did not rank. Raises Unavailable if the store
        fails, Unreadable for a garbled start of the rankings.
        """
        name = f"{self._base}ranked"
        (since,) = await checked(self._client.hmget(name, "since"))
        if since is None or month < rows.number(name, since):
            return None
        found = self._client.zrange(f"{self._base}top:{month}:{by}", 0, -1, desc=True)
        return list(await checked(found))
