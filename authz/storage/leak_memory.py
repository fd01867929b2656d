"""StoredLeakMemory: remembers reports of leaked keys, and the keys that they ended."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import redis.asyncio

from authz.storage import schema
from authz.storage.replies import checked


class StoredLeakMemory:
    """A LeakMemory and an EndedKeys over redis-py. Methods raise Unavailable if the store fails.

    ended: the name of the hash with the keys that were ended; "": the one of reports.
    """

    def __init__(self, client: redis.asyncio.Redis, ended: str = "") -> None:
        self._client = client
        self._names = schema.names_of(client)
        self._ended = ended or self._names.leaked

    async def is_known(self, report: str, ms: int) -> bool:
        """Implement LeakMemory.is_known; `ms` is the time to live that `remember` set."""
        del ms
        return bool(await checked(self._client.exists(self._names.report(_hash(report)))))

    async def remember(self, report: str, ms: int) -> None:
        """Implement LeakMemory.remember."""
        await checked(self._client.set(self._names.report(_hash(report)), "1", px=ms))

    async def may_end(
        self, kids: Sequence[str], now: int, since: int, limit: int
    ) -> frozenset[str]:
        """Implement LeakMemory.may_end. A key that is remembered already takes no further place."""
        name = self._ended
        times = await checked(self._client.hgetall(name))
        known = frozenset(kid for kid, at in times.items() if at.isdecimal() and int(at) >= since)
        old = times.keys() - known
        if old:
            await checked(self._client.hdel(name, *old))
        new = [kid for kid in kids if kid not in known][: max(0, limit - len(known))]
        mapping: dict[Any, Any] = dict.fromkeys(new, str(now))
        if mapping:
            await checked(self._client.hset(name, mapping=mapping))
        return known.intersection(kids) | frozenset(new)


def _hash(report: str) -> str:
    return sha256(report.encode()).hexdigest()
