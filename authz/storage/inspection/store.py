"""The store that is checked, with the settings that the checks need."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import redis.asyncio
from redis import exceptions

from authz.storage import schema
from authz.storage.refusals import is_without_disk
from authz.storage.replies import unusable


@dataclass(frozen=True, slots=True)
class Store:
    """The store that is checked, and the settings that the checks need.

    fingerprints: of our peppers, by version. deadline: seconds that a lookup may take. wall_ms:
    returns our clock. has_replicas: whether it is a cluster or behind Sentinel. anonymous: a client
    that does not log in; None if `client` does not log in either. prefixes: of the keys that
    sidecars read.
    """

    client: redis.asyncio.Redis
    fingerprints: Mapping[str, str]
    deadline: float
    wall_ms: Callable[[], int]
    has_replicas: bool = False
    anonymous: redis.asyncio.Redis | None = None
    prefixes: Collection[str] = ()

    async def ping(self, advice: str = "") -> None:
        """Return when the store has answered. Raises Unavailable if it does not, with the advice.

        A store that cannot write to its disk refuses PING, and that is an answer.
        """
        try:
            await self.client.ping()
        except (exceptions.RedisError, OSError) as cause:
            if not is_without_disk(cause):
                raise unusable(cause, advice) from None

    @property
    def names(self) -> schema.Names:
        """The names of our data in the store."""
        return schema.names_of(self.client)
