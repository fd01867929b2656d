"""Late writes: those of processes that do not know of the move yet."""

from typing import Any

import redis.asyncio

from authz.storage import schema
from authz.storage.replies import checked
from authz.storage.resharding.name_scan import names_from
from authz.storage.scripts import script


async def copy_late(old: redis.asyncio.Redis, first: redis.asyncio.Redis) -> None:
    """Bring ends of sessions, and ended sidecars, to partition 0. It can be repeated.

    first: of that partition. A later end of the same session that is there stays. Raises
    Unavailable.
    """
    names, theirs = schema.names_of(old), schema.names_of(first)
    end = first.register_script(script("end_sessions"))
    async for found in names_from(old, names.ended("")):
        for name in found:
            until, left = await checked(old.get(name)), int(await checked(old.pttl(name)))
            if until is not None and left > 0:
                there = theirs.beginning + name.removeprefix(names.beginning)
                await checked(end(keys=[there], args=[until, left]))
    members: Any = await checked(old.zrange(names.issued, 0, -1, withscores=True))
    if members:
        await checked(first.zadd(theirs.issued, dict(members)))
