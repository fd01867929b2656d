"""Target: one of the new partitions, as a run writes into it."""

from collections.abc import Mapping
from typing import Any, Final, Self

import redis.asyncio
from redis import exceptions

from authz.core.errors import Conflict, Foreign, Unavailable
from authz.storage import emptiness, schema
from authz.storage.essential import ALLOW_OOM
from authz.storage.guarded_writes import Command, GuardedWrites
from authz.storage.replies import checked, unusable
from authz.storage.resharding.name_scan import names_from

MOST: Final = 200  # commands in one transaction
MOST_BYTES: Final = 1 << 22  # of values in one transaction
RUN: Final = "move-"  # beginning of the marker of each run
TAKEN: Final = "another run writes into partition {}, or it was completed meanwhile"
COPY_LOST: Final = (
    "partition {} has lost its copy after the move was decided, and is not trusted; the old names "
    "still have all data: save them before anything is removed"
)


class Target:
    """Writes into one partition, while its marker names this run and it has no authz:meta.

    So nobody trusts it yet, and a run that was taken for dead changes nothing. `async with` closes
    its connection.
    """

    def __init__(self, client: redis.asyncio.Redis, run: str) -> None:
        self._client = client
        self.names = names = schema.names_of(client)
        self._marker = RUN + run
        self._writes = GuardedWrites(
            client,
            (names.meta, names.restoring),
            (("GET", names.restoring), ("EXISTS", names.meta)),
            lambda answers: list(answers) == [self._marker, 0],
        )
        self._waiting: list[Command] = []
        self._bytes = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._writes.__aexit__(*exc)

    async def claim(self, *, is_known: bool, has_copy: bool = False) -> None:
        """Set the marker of this run. is_known: the old store knows of a move to this partition.

        has_copy: an earlier run has copied everything. Raises Foreign if it has data of others,
        Unavailable, also if that copy is lost.
        """
        names = self.names

        async def claim(transaction: Any) -> None:
            present = [name for name in emptiness.watched(names) if await transaction.exists(name)]
            marker = await transaction.get(names.restoring) or ""
            is_ours = marker.startswith(RUN)
            if has_copy and not (is_ours and names.seq in present):
                raise Unavailable(COPY_LOST.format(names.partition))
            is_bare = present == [names.restoring]  # all that a run leaves which ended at once
            if present and not (is_ours and (is_known or is_bare)):
                raise Foreign(f"partition {names.partition}: {emptiness.describe(present, names)}")
            transaction.multi()
            transaction.eval(_MARK, 1, names.restoring, self._marker)

        await checked(self._client.transaction(claim, *emptiness.watched(names)))

    async def forget(self) -> bool:
        """Remove the marker of a run that ended before it wrote anything. Return False if none did.

        Raises Unavailable.
        """
        names = self.names

        async def forget(transaction: Any) -> bool:
            present = [name for name in emptiness.watched(names) if await transaction.exists(name)]
            marker = await transaction.get(names.restoring) or ""
            is_bare = present == [names.restoring] and marker.startswith(RUN)
            transaction.multi()
            if is_bare:
                transaction.delete(names.restoring)
            return is_bare

        watched = emptiness.watched(names)
        work = self._client.transaction(forget, *watched, value_from_callable=True)
        return bool(await checked(work))

    async def is_complete(self) -> bool:
        """Return whether the partition has its authz:meta. Raises Unavailable."""
        return bool(await checked(self._client.exists(self.names.meta)))

    async def empty(self) -> None:
        """Remove all that an earlier run has left, but not the marker. Raises as `flush`."""
        async for found in names_from(self._client, self.names.beginning):
            names = [name for name in found if name != self.names.restoring]
            if names:
                await self.add(("UNLINK", *names))
        await self.flush()

    async def add(self, *commands: Command) -> None:
        """Write these soon; one after the other, in the order of the calls. Raises as `flush`."""
        self._waiting += commands
        self._bytes += sum(len(word) for one in commands for word in one if isinstance(word, bytes))
        if len(self._waiting) >= MOST or self._bytes >= MOST_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Write all that waits. Raises Conflict if the partition is not this run's, Unavailable."""
        commands, self._waiting, self._bytes = self._waiting, [], 0
        if not commands:
            return
        try:
            is_done = await self._writes.apply(commands)
        except (exceptions.RedisError, OSError) as cause:
            raise unusable(cause) from None
        if not is_done:
            raise Conflict(TAKEN.format(self.names.partition))

    async def complete(self, fields: Mapping[str, str]) -> None:
        """Write its authz:meta, and remove the marker, in one step. Raises as `flush`."""
        pairs = [text for pair in fields.items() for text in pair]
        await self.add(("HSET", self.names.meta, *pairs), ("DEL", self.names.restoring))
        await self.flush()

    async def missing(self, fields: Mapping[str, str]) -> dict[str, str]:
        """Return those fields that its authz:meta lacks. Raises Unavailable."""
        found = await checked(self._client.hgetall(self.names.meta))
        return {name: text for name, text in fields.items() if name not in found}

    async def add_field(self, name: str, text: str) -> None:
        """Write a field of its authz:meta unless it has one by this name. Raises Unavailable."""
        await checked(self._client.hsetnx(self.names.meta, name, text))


# Also on a full store, so that its copies can be removed.
_MARK: Final = f"{ALLOW_OOM}return redis.call('SET', KEYS[1], ARGV[1])"


async def server_of(client: redis.asyncio.Redis) -> str:
    """Return what names the process of the server that has the client's names."""
    return str((await checked(client.info("server"))).get("run_id"))
