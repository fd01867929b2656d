"""What was used of limits, for administration: read, and reset."""

from typing import Any

import redis.asyncio
from redis import exceptions

from authz.core.charge import Charge, Receipt
from authz.core.errors import Unavailable, Unreadable
from authz.storage import schema
from authz.storage.link import refusal
from authz.storage.spending import SPEND, encoded

LOOK = ("0", "0", "0")  # of the script: no request, nothing given back


class StoredCounters:
    """LimitCounters by the script of the sidecars, which only looks when asked for nothing."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client

    async def look(self, charge: Charge) -> Receipt:
        """See LimitCounters. Read-only for the store, too."""
        keys, counters = encoded(charge)
        count, *names = keys
        sha = await self._call(self._client.script_load(SPEND))
        look = self._client.evalsha_ro(sha, int(count), *names, *LOOK, *counters)
        granted, now, *rows = await self._call(look)
        return Receipt(granted, now, tuple(rows[::2]), tuple(rows[1::2]))

    async def reset(self, kid: str) -> None:
        """See LimitCounters."""
        await self._call(self._client.delete(schema.limit(kid)))

    async def _call(self, answer: Any) -> Any:
        try:
            return await answer
        except exceptions.ResponseError as cause:
            problem = refusal(cause)
            if problem.startswith(("GARBLED ", "WRONGTYPE ")):
                raise Unreadable(problem) from None
            raise Unavailable(f"the store refused: {problem}") from None
        except (exceptions.RedisError, OSError) as cause:
            raise Unavailable(f"the store cannot be used: {refusal(cause)}") from None
