"""A client of redis-py for administration, whose connections follow the owner of our slot.

redis-py's own RedisCluster is not used: it keeps a connection to each node, repeats commands that
may have been carried out, and cannot watch names for a transaction as `authz init` does.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any, Final, cast

import redis.asyncio
from redis import exceptions
from redis.asyncio import Connection, ConnectionPool

from authz.core.listen_address import Address
from authz.storage.cluster import Cluster, read_slots
from authz.storage.reply_types import expect_types

LOST: Final = (exceptions.MovedError, exceptions.ReadOnlyError, exceptions.ClusterDownError)

Find = Callable[[], Awaitable[Address]]


def client_of(
    kind: type[Connection], cluster: Cluster, find: Find, options: Mapping[str, Any]
) -> "ClusterClient":
    """Return a client of the node that owns our slot. It connects at its first command.

    kind, options: of its connections. find: see `following`.
    """
    kinds = {"connection_class": following(kind, cluster, find)}
    pool = ConnectionPool(**{**options, **kinds})
    client = cast("ClusterClient", ClusterClient.from_pool(pool))
    expect_types(client)
    client.nodes, client.find, client.options = cluster, find, options
    return client


def following(kind: type[Connection], cluster: Cluster, find: Find) -> type[Connection]:
    """Return a subclass of a redis-py connection that asks for the owner at every connect.

    After a refusal because another node owns the slot, each connection of the cluster is made
    again. find: returns the owner; its Unavailable becomes a ConnectionError.
    """

    class Following(kind):  # type: ignore[valid-type, misc]
        _moves = -1

        async def connect(self) -> None:
            if self._moves != cluster.moves and self.is_connected:
                await self.disconnect()
            await super().connect()

        async def _connect(self) -> None:
            owner = await find()
            self.host, self.port, self._moves = owner.host, owner.port, cluster.moves
            await super()._connect()

        async def read_response(self, *args: Any, **options: Any) -> Any:
            try:
                return await super().read_response(*args, **options)
            except LOST as cause:
                owner = cause.node_addr if isinstance(cause, exceptions.MovedError) else ("", "")
                cluster.note_move("{}:{}".format(*owner))
                self.mark_for_reconnect()
                raise

    return Following


class ClusterClient(redis.asyncio.Redis):
    """Repeats a single command that a node refused because another one owns the slot.

    The refusal shows that it was not carried out. A pipeline is not repeated.
    """

    nodes: Cluster
    find: Find
    options: Mapping[str, Any]  # of a connection to one node

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command as redis-py does, and once more to the new owner after MOVED."""
        send: Callable[..., Awaitable[Any]] = super().execute_command
        try:
            return await send(*args, **options)
        except exceptions.MovedError:
            return await send(*args, **options)


@asynccontextmanager
async def primaries_of(client: redis.asyncio.Redis) -> AsyncIterator[dict[str, Any]]:
    """Yield a client of each node that owns slots, by its address; of a single store itself, by "".

    Scripts and functions are each node's own. Raises the errors of redis-py and Unavailable.
    """
    if not isinstance(client, ClusterClient):
        yield {"": client}
        return
    reply = await client.execute_command("CLUSTER", "SLOTS")
    slots = read_slots(reply, await client.find())
    async with AsyncExitStack() as stack:
        found = {}
        for owner in {nodes[0] for _, nodes in slots}:
            options: dict[str, Any] = {**client.options, "host": owner.host, "port": owner.port}
            one = redis.asyncio.Redis.from_pool(ConnectionPool(**options))
            expect_types(one)
            found[str(owner)] = await stack.enter_async_context(aclosing(one))
        yield found
