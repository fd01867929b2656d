"""Signpost: names the number of partitions where a store with one partition has its authz:meta.

So whoever expects another number finds the right one, and no second installation begins beside the
first. A version that knows no partitions finds an authz:meta without peppers, which it refuses.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import redis.asyncio

from authz.core.errors import Foreign, Unavailable
from authz.storage import emptiness, meta, schema
from authz.storage.endpoint import Endpoint
from authz.storage.link import expect
from authz.storage.refusals import RIGHT_MISSING
from authz.storage.replies import checked

CONNECTION_NAME: Final = "authz-partitions"
PATIENCE: Final = 5.0  # seconds
_FIELDS: Final = (schema.META_SCHEMA, schema.META_PARTITIONS, schema.META_RESHARDING)


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

    def _compare(self, found: Mapping[str, str]) -> None:
        count = meta.partitions_in(found)
        if count != self._count:
            raise Foreign(meta.OTHER_COUNT.format(count, self._count))


async def refuse_other_count(where: Endpoint) -> None:
    """Raise Foreign if the store of this endpoint has another number of partitions.

    It accepts a store that was not set up, one that is about to have this number, and one that
    cannot be asked within PATIENCE (5 s). where: any partition. It takes a connection of its own:
    on a cluster another node may have the signpost.
    """
    try:
        async with asyncio.timeout(PATIENCE):
            found = await _read(where.undivided())
    except (Unavailable, OSError):
        return
    count, ours = meta.partitions_in(found), str(where.count)
    if found and ours not in {count, found.get(schema.META_RESHARDING)}:
        raise Foreign(meta.OTHER_COUNT.format(count, ours))


async def refuse_moved(client: redis.asyncio.Redis) -> None:
    """Raise Foreign if the store of this client has another number of partitions now.

    A move puts the signpost before it removes anything. So without an error, all that was read
    before is whole. Raises Unavailable.
    """
    names = schema.names_of(client)
    if found := await checked(client.hgetall(names.meta)):
        meta.refuse_partitions(found, names)


async def _read(where: Endpoint) -> dict[str, str]:
    """Return the fields of the signpost about partitions, or all of them."""
    link = await where.open(lambda: where.link(_ignore, _ignore))
    try:
        await where.greet(link, CONNECTION_NAME)
        try:
            return expect(dict, await link.call("HGETALL", where.names.meta))
        except Unavailable as cause:
            if RIGHT_MISSING not in str(cause):
                raise
        texts = await link.call("HMGET", where.names.meta, *_FIELDS)  # a meter may
        pairs = zip(_FIELDS, expect(list, texts), strict=True)
        return {name: text for name, text in pairs if text is not None}
    finally:
        link.abort()


def _ignore(*_any: Any) -> None:
    pass
