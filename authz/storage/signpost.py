"""Signpost: names the number of partitions where a store with one partition has its authz:meta.

So whoever expects another number finds the right one, and no second installation begins beside the
first. A version that knows no partitions finds an authz:meta without peppers, which it refuses.
"""

from typing import Any

import redis.asyncio

from authz.core.errors import Foreign
from authz.storage import emptiness, meta, schema
from authz.storage.replies import checked


class Signpost:
    """The signpost of a store with several partitions.

    client: of the store as one with a single partition. count: of partitions.
    """

    def __init__(self, client: redis.asyncio.Redis, count: int) -> None:
        self._client = client
        self._names = schema.names_of(client)
        self._count = str(count)

    async def claim(self) -> bool:
        """Write the signpost unless it is there. Return whether all partitions were set up once.

        Raises Foreign if the store has another number of partitions, or data of a store with one
        partition; Unavailable if it cannot be used.
        """
        wanted = {
            schema.META_SCHEMA: str(schema.SCHEMA),
            schema.META_PARTITIONS: self._count,
        }

        async def write(transaction: Any) -> bool:
            found = await transaction.hgetall(self._names.meta)
            if found:
                self._compare(found)
                return schema.META_COMPLETE in found
            if problem := await emptiness.remains(transaction, self._names):
                raise Foreign(problem)
            transaction.multi()
            transaction.hset(self._names.meta, mapping=wanted)
            return False

        names = emptiness.watched(self._names)
        return bool(
            await checked(self._client.transaction(write, *names, value_from_callable=True))
        )

    async def complete(self) -> None:
        """Note that all partitions were set up. Raises Unavailable."""
        await checked(self._client.hset(self._names.meta, schema.META_COMPLETE, "1"))

    async def verify(self) -> None:
        """Raise Foreign if the store has another number of partitions, also one.

        Raises Unavailable if it cannot be read. A store without a signpost is accepted.
        """
        if found := await checked(self._client.hgetall(self._names.meta)):
            self._compare(found)

    def _compare(self, found: dict[str, str]) -> None:
        count = meta.partitions_in(found)
        if count != self._count:
            raise Foreign(meta.OTHER_COUNT.format(count, self._count))
