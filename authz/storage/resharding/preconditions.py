"""Checks before a move: rights, memory, and the users of the store."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import redis.asyncio
from redis import exceptions

from authz.core.errors import Unavailable
from authz.storage import schema
from authz.storage.cluster_client import primaries_of
from authz.storage.replies import checked, mebibytes

OPERATOR: Final = (
    "this user may not {} {}; set redis.username to one with all rights on our names, such as "
    "`operator` of deploy/redis/users.sh"
)
USERS: Final = (
    "the user {} of the store has no rights on partition {}; load users with PARTITIONS={}, see "
    "docs/cluster.md"
)
MEMORY: Final = (
    "{} has {} of {} (maxmemory), and the copy may need {} more; raise maxmemory for the move"
)


async def refuse_unfit(old: redis.asyncio.Redis, new: Sequence[redis.asyncio.Redis]) -> None:
    """Raise Unavailable with the remedy unless the store can be moved. Writes nothing.

    It finds missing rights of our user, too little memory for a second copy, and users of sidecars,
    meters and `authz admin` without rights on a new partition.
    """
    await _refuse_rights(old, schema.names_of(old))
    for client in new:
        names = schema.names_of(client)
        await _refuse_rights(client, names)
        await _refuse_users(client, names)
    await _refuse_memory(old, new)


async def _refuse_rights(client: redis.asyncio.Redis, names: schema.Names) -> None:
    name = names.beginning + "reshard-probe"
    wanted = [
        *(("SCAN", "0"), ("TYPE", name), ("DUMP", name), ("PEXPIRETIME", name)),
        *(("RESTORE", name, "0", ""), ("DEL", name), ("UNLINK", name), ("RENAME", name, name)),
        *(("RPUSH", name, ""), ("SET", name, ""), ("HSET", name, "a", "b"), ("HGETALL", name)),
        *(("ZADD", name, "0", "a"), ("ZREM", name, "a"), ("ZRANGE", name, "0", "1")),
        *(("XADD", name, "*", "a", "b"), ("XDEL", name, "0-1"), ("XRANGE", name, "-", "+")),
        *(("XINFO", "STREAM", name), ("XLEN", name), ("PEXPIRE", name, "1"), ("PTTL", name)),
        *(("PEXPIREAT", name, "1"), ("MGET", name), ("EXISTS", name), ("ZCARD", name)),
        *(("HSET", names.meta, "a", "b"), ("HSETNX", names.meta, "a", "b")),
        *(("DEL", names.meta), ("HDEL", names.meta, "a")),
        ("INFO", "memory"),
    ]
    run = client.register_script(_MAY)
    for word, *others in wanted:
        if not await checked(run(keys=[names.resharder], args=[word, *others])):
            raise Unavailable(OPERATOR.format(word, others[0]))


async def _refuse_users(client: redis.asyncio.Redis, names: schema.Names) -> None:
    """Raise Unavailable if a user of ours has no rights here. It passes if we may not ask."""
    ask: Any = client.execute_command
    for user, command in (
        ("authz-sidecar", ("GET", names.seq)),
        ("authz-admin", ("GET", names.seq)),
        ("authz-console", ("GET", names.seq)),
        ("authz-meter", ("EXISTS", names.meta)),
    ):
        with suppress(exceptions.ResponseError):  # no such user, or we may not ask
            if await ask("ACL", "DRYRUN", user, *command) not in (True, "OK", b"OK"):
                raise Unavailable(USERS.format(user, names.partition, names.partitions))


async def _refuse_memory(old: redis.asyncio.Redis, new: Sequence[redis.asyncio.Redis]) -> None:
    """Raise Unavailable if a primary has no memory for its share of a second copy.

    The size of the old data is at most the memory of the node that has it.
    """
    size = int((await checked(old.info("memory")))["used_memory"])
    async with primaries_of(new[0]) as primaries:
        share = size // len(primaries)
        for name, one in primaries.items():
            found = await checked(one.info("memory"))
            used, most = int(found["used_memory"]), int(found.get("maxmemory", 0))
            if most and used + share > most:
                shown = (mebibytes(used), mebibytes(most), mebibytes(share))
                raise Unavailable(MEMORY.format(name or "the store", *shown))


_MAY: Final = "return redis.acl_check_cmd(unpack(ARGV)) and 1 or 0"
