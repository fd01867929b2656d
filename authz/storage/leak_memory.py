"""StoredLeakMemory: remembers reports of leaked keys, and the keys that they ended."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import redis.asyncio

from authz.storage import schema
from authz.storage.replies import checked
from authz.storage.scripts import script

TAKE_PLACES: Final = script("take_places")


class StoredLeakMemory:
    """A LeakMemory and an HourlyPlaces over redis-py. Methods raise Unavailable if the store fails.

    ended: the name of the hash with the keys that were ended; "": the one of reports.
    """

    def __init__(self, client: redis.asyncio.Redis, ended: str = "") -> None:
        self._client = client
        self._names = schema.names_of(client)
        self._ended = ended or self._names.leaked
        self._take_places = client.register_script(TAKE_PLACES)

    async def is_known(self, report: str, ms: int) -> bool:
        """Implement LeakMemory.is_known; `ms` is the time to live that `remember` set."""
        del ms
        return bool(await checked(self._client.exists(self._names.report(_hash(report)))))

    async def remember(self, report: str, ms: int) -> None:
        """Implement LeakMemory.remember."""
        await checked(self._client.set(self._names.report(_hash(report)), "1", px=ms))

    async def take_places(self, kids: Sequence[str], ms: int, limit: int) -> frozenset[str]:
        """Implement LeakMemory.take_places, in one step: a key takes one place."""
        if not kids:
            return frozenset()
        args: list[str | int] = [ms, limit, *kids]
        return frozenset(await checked(self._take_places(keys=[self._ended], args=args)))


def _hash(report: str) -> str:
    return sha256(report.encode()).hexdigest()
