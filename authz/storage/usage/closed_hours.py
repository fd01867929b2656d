"""StoredClosedHours: reads hours of keys, with their owners, for billing."""

from collections.abc import Sequence
from typing import Any

import redis.asyncio

from authz.core.errors import Unreadable
from authz.core.usage.billing.differences import KeyHours
from authz.core.usage.counts import Counts, Level
from authz.storage import schema
from authz.storage.replies import checked, pipelined
from authz.storage.usage.stored_usage import StoredUsage, hour_counts, owners_of, windows_of


class StoredClosedHours:
    """A ClosedHours over redis-py."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client: Any = client
        self._base = schema.names_of(client).usage
        self._usage = StoredUsage(client)

    async def now_ms(self) -> int:
        """Implement ClosedHours.now_ms."""
        seconds, microseconds = await checked(self._client.time())
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def read(self, kids: Sequence[str], hours: range) -> Sequence[KeyHours]:
        """Implement ClosedHours.read."""
        windows = windows_of(Level.HOUR, hours)
        commands = [
            ("HGETALL", f"{self._base}{kid}{suffix}")
            for kid in kids
            for suffix in ("", *(f":{Level.HOUR}:{window}" for window in windows))
        ]
        replies = iter(await pipelined(self._client, commands))
        routes = await self._usage.routes()  # after them: every route of theirs has a name
        found = []
        for kid in kids:
            about, rows = next(replies), [(window, next(replies)) for window in windows]
            counts: dict[tuple[int, str], Counts] = {}
            try:
                for window, fields in rows:
                    counts.update(hour_counts(window, fields, hours, routes))
                owners = owners_of(about)
            except Unreadable as cause:
                raise Unreadable(f"the usage of {kid}: {cause}") from None
            found.append(KeyHours(kid, counts, frozenset(w for w, has in rows if has), owners))
        return found
