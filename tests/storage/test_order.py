"""A cache fill races with an invalidation: an ordered link is correct, a naive cache is not."""

import asyncio
import contextlib
import itertools
import random

from authz.core.events import Event
from authz.core.records import Status
from authz.storage import encoding, notices
from authz.storage.link import Link
from tests.support.fakes import make_record
from tests.support.storage import stored
from tests.support.storage.sidecar import Sidecar

KEYS = 3000
AT_ONCE = 50
READS = 2  # of each key, around its change


def ignore(_what):
    """Ignore a reply."""


async def connected(endpoint, on_push=ignore):
    """Yield a link to the store."""
    link = await endpoint.open(lambda: Link(on_push, lambda: None))
    await endpoint.greet(link, "test")
    return link


class NaiveCache:
    """A cache as one would first write it: one connection for reads, another for notices."""

    def __init__(self):
        self.records = {}

    async def connect(self, endpoint):
        """Open both connections."""
        self.reads = await connected(endpoint)
        self.notices = await connected(endpoint, self.on_push)
        await self.notices.call("SUBSCRIBE", stored.CHANGES)

    def abort(self):
        """Close both connections."""
        self.reads.abort()
        self.notices.abort()

    def on_push(self, push):
        _, kid, *_ = notices.decode_notice(push[2])
        self.records.pop(kid, None)

    async def find(self, kid):
        if kid not in self.records:
            found = await self.reads.call("HGETALL", stored.key(kid))
            self.records[kid] = encoding.decode(kid, found)
        return self.records[kid]


def fill(valkey):
    """Write active keys as if each had been issued by one change."""
    records = [make_record(kid=f"{n:016}", version=n) for n in range(1, KEYS + 1)]
    pipeline = valkey.admin.pipeline()
    for record in records:
        fields = encoding.encode(record) | {"version": str(record.version)}
        pipeline.hset(stored.key(record.kid), mapping=fields)
    pipeline.set(stored.SEQ, KEYS)
    pipeline.execute()
    return records


def disable(writer, record, seq):
    """Write a change and then its notice, on a separate connection."""
    writer.send(ignore, "SET", stored.SEQ, str(seq))
    writer.send(ignore, "HSET", stored.key(record.kid), "status", "disabled", "version", str(seq))
    writer.send(ignore, "PUBLISH", stored.CHANGES, f"{seq} {record.kid} disabled")


async def read_and_change(records, writer, caches):
    """Read each key and disable it, many at once in random order."""
    seqs = itertools.count(KEYS + 1)
    for start in range(0, KEYS, AT_ONCE):
        batch = records[start : start + AT_ONCE]
        steps = [(disable, record) for record in batch]
        steps += [(cache, record) for record in batch for cache in caches * READS]
        random.shuffle(steps)
        reads = []
        for what, record in steps:
            if what is disable:
                disable(writer, record, next(seqs))
            else:
                reads.append(asyncio.create_task(what.find(record.kid)))
            if random.random() < 0.2:
                await asyncio.sleep(0)
        await asyncio.gather(*reads)


async def test_nothing_stale_is_left(valkey, admin):
    """Concurrent reads and changes of many keys leave no stale record in the cache.

    Keys are disabled, not revoked: a remembered revocation would hide a stale record.
    """
    records = fill(valkey)
    async with contextlib.AsyncExitStack() as stack:
        writer, naive = await connected(valkey.endpoint), NaiveCache()
        stack.callback(writer.abort)
        await naive.connect(valkey.endpoint)
        stack.callback(naive.abort)
        sidecar = await stack.enter_async_context(Sidecar(valkey.endpoint, lease=10))
        await sidecar.trusted()
        await read_and_change(records, writer, [sidecar, naive])
        await sidecar.caught_up(2 * KEYS)
        kept = [found for record in records if (found := sidecar.cache.peek(record.kid))]
        gaps = sidecar.probe.events[Event.CHANGE_GAP]
        await naive.notices.call("PING")  # all notices have arrived

    stale = [found for found in naive.records.values() if found.status is Status.ACTIVE]
    assert stale  # the race did take place
    assert len(kept) > KEYS / 10
    assert {found.status for found in kept} == {Status.DISABLED}
    assert gaps == 0
