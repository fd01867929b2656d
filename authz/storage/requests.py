"""StoredRequests: remembers repeatable requests of the admin API."""

from typing import cast

import redis.asyncio

from authz.storage import schema
from authz.storage.replies import checked


class StoredRequests:
    """A RequestStore over redis-py: one string with a time to live for each request."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._names = schema.names_of(client)

    async def remember(self, name: str, entry: str, ms: int) -> str | None:
        """Store `entry` for `ms` unless the name has one; return the one that it had, or None.

        One SET with NX and GET, so two callers cannot both be first. Raises Unavailable.
        """
        key = self._names.request(name)
        found = await checked(self._client.set(key, entry, px=ms, nx=True, get=True))
        return cast("str | None", found)
