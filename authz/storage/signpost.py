"""Signpost: names the number of partitions where a store with one partition has its authz:meta.

So whoever expects another number finds the right one, and no second installation begins beside the
first. A version that knows no partitions finds an authz:meta without peppers, which it refuses.
"""

from contextlib import aclosing
from typing import Any

import redis.asyncio

from authz.core.errors import Foreign, Unavailable
from authz.storage import emptiness, meta, schema
from authz.storage.endpoint import Endpoint
from authz.storage.replies import checked


class Signpost:
    """The signpost of a store with several partitions.

    client: of the store as one with a single partition. count: of partitions, 1 only to `verify`.
    """

    def __init__(self, client: redis.asyncio.Redis, count: int) -> None:
        self._client = client
        self._names = schema.names_of(client)
        self._count = str(count)

    async def look(self) -> bool:
        """Return whether all partitions were set up once. Writes nothing.

        Raises Foreign if the store has another number of partitions, or data of a store with one
        partition; Unavailable if it cannot be used.
        """
        if found := await checked(self._client.hgetall(self._names.meta)):
            self._compare(found)
            return schema.META_COMPLETE in found
        if problem := await emptiness.remains(self._client, self._names):
            raise Foreign(problem)
        return False

    async def claim(self) -> None:
        """Write the signpost unless it is there. Raises as `look`."""
        wanted = {
            schema.META_SCHEMA: str(schema.SCHEMA),
            schema.META_PARTITIONS: self._count,
        }

        async def write(transaction: Any) -> None:
            found = await transaction.hgetall(self._names.meta)
            if found:
                self._compare(found)
                return
            if problem := await emptiness.remains(transaction, self._names):
                raise Foreign(problem)
            transaction.multi()
            transaction.hset(self._names.meta, mapping=wanted)

        await checked(self._client.transaction(write, *emptiness.watched(self._names)))

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


async def refuse_other_count(where: Endpoint) -> None:
    """Raise Foreign if the store of this endpoint has another number of partitions.

    It accepts a store that was not set up, and one that cannot be asked. where: any partition.
    """
    async with aclosing(where.undivided().client()) as client:
        try:
            await Signpost(client, where.count).verify()
        except Foreign:
            raise
        except Unavailable:
            return
