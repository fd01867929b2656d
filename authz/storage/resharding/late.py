"""Processes that do not know of the move yet: their late writes, and entries of sidecars."""

from collections.abc import Sequence
from typing import Any

import redis.asyncio

from authz.storage import schema
from authz.storage.registry import MAX_ENTRIES
from authz.storage.replies import checked
from authz.storage.resharding.target import PAGE, Target, escaped
from authz.storage.scripts import script


async def copy_sidecars(
    old: redis.asyncio.Redis, new: Sequence[redis.asyncio.Redis], targets: Sequence[Target]
) -> None:
    """Give each partition the entries of sidecars that have not registered there.

    Such a sidecar may serve what it has cached for its grace. So a change waits for it as before.
    new: clients of the targets. Raises Unavailable, Conflict.
    """
    names = schema.names_of(old)
    index: Any = await checked(old.zrange(names.sidecars, -MAX_ENTRIES, -1, withscores=True))
    async with old.pipeline(transaction=False) as pipeline:
        for instance, _ in index:
            pipeline.get(names.sidecar(instance))
            pipeline.pttl(names.sidecar(instance))
        replies = await checked(pipeline.execute())
    for client, target in zip(new, targets, strict=True):
        there = target.names
        known = set(await checked(client.zrange(there.sidecars, 0, -1)))
        for (instance, at), text, left in zip(index, replies[::2], replies[1::2], strict=True):
            if instance in known:
                continue
            await target.add(("ZADD", there.sidecars, repr(at), instance))
            if text is not None and left > 0:
                await target.add(("SET", there.sidecar(instance), text, "PX", left))
        await target.flush()


async def copy_late(old: redis.asyncio.Redis, first: redis.asyncio.Redis) -> None:
    """Bring ends of sessions, and ended sidecars, to partition 0. It can be repeated.

    first: of that partition. A later end of the same session that is there stays. Raises
    Unavailable.
    """
    names, theirs = schema.names_of(old), schema.names_of(first)
    end = first.register_script(script("end_sessions"))
    cursor: Any = 0
    while True:
        pattern = f"{escaped(names.ended(''))}*"
        scan: Any = old.scan(cursor, pattern, PAGE)
        cursor, found = await checked(scan)
        for name in found:
            until, left = await checked(old.get(name)), int(await checked(old.pttl(name)))
            if until is not None and left > 0:
                there = theirs.beginning + name.removeprefix(names.beginning)
                await checked(end(keys=[there], args=[until, left]))
        if not int(cursor):
            break
    members: Any = await checked(old.zrange(names.issued, 0, -1, withscores=True))
    if members:
        await checked(first.zadd(theirs.issued, dict(members)))
