"""StoredEraser: erases the facts about the callers of a key."""

from typing import Final

import redis.asyncio

from authz.storage import schema
from authz.storage.essential import ALLOW_OOM
from authz.storage.replies import checked
from authz.storage.scripts import script
from authz.storage.usage.key_counts import OPEN

ERASE_USAGE: Final = ALLOW_OOM + script("erase_usage")
ONCE, PERMANENTLY, KEEP_AGAIN = range(3)
BEFORE, AFTER = 4, 1  # days around today of which a log of networks may exist


class StoredEraser:
    """A UsageEraser over redis-py."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._base = schema.names_of(client).usage
        self._script = client.register_script(ERASE_USAGE)

    async def erase(self, kid: str, today: int, *, permanently: bool = False) -> int:
        """Implement UsageEraser.erase: return how many networks and user agents were erased.

        Counts the latest use of each secret as one, the networks of a day as one, and the callers
        by hour as one. It also works on a full store. Raises Unavailable if the store fails.
        """
        name = f"{self._base}{kid}"
        days = range(today - BEFORE, today + AFTER + 1)
        keys = [name, name + OPEN, f"{name}:seen", *(f"{name}:net:{day}" for day in days)]
        return int(
            await checked(self._script(keys=keys, args=[PERMANENTLY if permanently else ONCE]))
        )

    async def keep_again(self, kid: str) -> None:
        """Implement UsageEraser.keep_again: end a permanent erasure. Erased facts stay erased.

        Raises Unavailable if the store fails.
        """
        name = f"{self._base}{kid}"
        await checked(self._script(keys=[name, name + OPEN], args=[KEEP_AGAIN]))
