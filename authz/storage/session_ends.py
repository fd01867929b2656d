"""StoredSessionEnds: remembers which sessions of the console were ended."""

from collections.abc import Sequence
from typing import Final

import redis.asyncio

from authz.core.errors import Unavailable
from authz.storage import encoding, schema
from authz.storage.essential import ALLOW_OOM
from authz.storage.replies import checked
from authz.storage.scripts import script

END_SESSIONS: Final = ALLOW_OOM + script("end_sessions")


class StoredSessionEnds:
    """A SessionEnds over redis-py: one string with a time to live for each name."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._names = schema.names_of(client)
        self._end = client.register_script(END_SESSIONS)

    async def ended(self, names: Sequence[str]) -> Sequence[int | None]:
        """Return the end of each name, by one MGET. Raises Unavailable, also for a garbled end."""
        keys = [self._names.ended(name) for name in names]
        found = await checked(self._client.mget(keys))
        try:
            return [
                text and encoding.number(key, text) for key, text in zip(keys, found, strict=True)
            ]
        except ValueError as cause:
            raise Unavailable(str(cause)) from None

    async def end(self, name: str, until: int, ms: int) -> None:
        """Store the end unless a later one is there. Raises Unavailable."""
        await checked(self._end(keys=[self._names.ended(name)], args=[until, ms]))
