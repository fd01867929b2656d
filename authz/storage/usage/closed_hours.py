"""StoredClosedHours: reads hours of keys, with their owners, for billing."""

from collections.abc import Sequence
from typing import Any

import redis.asyncio

from authz.core.errors import Unreadable
from authz.core.usage.billing.differences import KeyHours
from authz.core.usage.counts import Level
from authz.storage import schema
from authz.storage.replies import at_one_moment, checked
from authz.storage.signpost import refuse_moved
from authz.storage.usage.key_counts import blocks, commands, named, sums, windows_of
from authz.storage.usage.open_usage import open_usage
from authz.storage.usage.stored_usage import StoredUsage, owners_of


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
        names = [f"{self._base}{kid}" for kid in kids]
        groups = [[("HGETALL", name), *commands(name, Level.HOUR, hours)] for name in names]
        replies = await at_one_moment(self._client, groups)
        routes = await self._usage.routes()  # after them: every route of theirs has a name
        await refuse_moved(self._client)
        found = []
        for kid, (fields, *others) in zip(kids, replies, strict=True):
            try:
                counts = named(sums(Level.HOUR, hours, others), Level.HOUR, routes)
                windows, owners = _windows(hours, others), owners_of(fields)
            except Unreadable as cause:
                raise Unreadable(f"the usage of {kid}: {cause}") from None
            found.append(KeyHours(kid, counts, windows, owners))
        return found


def _windows(hours: range, replies: Sequence[Any]) -> frozenset[int]:
    """Return the windows with some of these hours of which the store has something.

    replies: to `commands`. A window that was folded, and is no longer among the packed counts, has
    expired; open usage of it is not all that it had. Raises Unreadable.
    """
    if not hours:
        return frozenset()
    opened, packed, *hashes = replies
    asked = windows_of(Level.HOUR, hours)
    found = {window for window, has in zip(asked, hashes, strict=True) if has}
    found |= {slot // Level.HOUR.window for slot, _ in blocks(Level.HOUR, packed)}
    usage = open_usage(opened)
    latest = {hour // Level.HOUR.window for hour, _, _ in usage.counts(Level.HOUR)}
    found |= {window for window in latest if window > usage.folded}
    return frozenset(found & set(asked))
