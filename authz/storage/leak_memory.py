"""StoredLeakMemory: remembers reports of leaked keys, and the keys that they ended."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import redis.asyncio

from authz.core.leaks import ReportProgress
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

    async def progress(self, report: str) -> ReportProgress:
        """Implement LeakMemory.progress."""
        digest = _hash(report)
        names = [self._names.report(digest), self._names.open_report(digest)]
        over, states = await checked(self._client.mget(names))
        if over is not None:
            return ReportProgress(is_over=True)
        return ReportProgress() if states is None else ReportProgress.parse(states)

    async def remember(self, report: str, progress: ReportProgress, ms: int) -> None:
        """Implement LeakMemory.remember."""
        digest = _hash(report)
        if progress.is_over:
            await checked(self._client.set(self._names.report(digest), "1", px=ms))
        else:
            name = self._names.open_report(digest)
            await checked(self._client.set(name, progress.text(), px=ms))

    async def take_places(self, kids: Sequence[str], ms: int, limit: int) -> frozenset[str]:
        """Implement LeakMemory.take_places, in one step: a key takes one place."""
        if not kids:
            return frozenset()
        args: list[str | int] = [ms, limit, *kids]
        return frozenset(await checked(self._take_places(keys=[self._ended], args=args)))


def _hash(report: str) -> str:
    return sha256(report.encode()).hexdigest()
