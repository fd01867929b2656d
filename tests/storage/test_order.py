"""The race of a cache fill with an invalidation: order wins it, a naive cache loses it."""

import asyncio
import itertools
import random

from authz.core.events import Event
from authz.core.records import Status
from authz.storage import notices, schema
from authz.storage.link import Link
from tests.support.fakes import make_record
from tests.support.storage.sidecar import Sidecar

KEYS = 3000
AT_ONCE = 50
READS = 2  # of each key, around its change


def ignore(_what):
    """Whom the answer does not concern."""


async def connected(endpoint, on_push=ignore):
    """A link to the store."""
    link = await endpoint.open(lambda: Link(on_push, lambda: None))
    await endpoint.greet(link, "test")
    return link


class NaiveCache:
    """What one would write first: a connection to read on, another for what was changed."""

    def __init__(self):
        self.records = {}

    async def connect(self, endpoint):
        """Both connections."""
        self.reads = await connected(endpoint)
        self.notices = await connected(endpoint, self.on_push)
        await self.notices.call("SUBSCRIBE", schema.CHANGES)

    async def close(self):
        """When whatever was announced has arrived."""
        await self.notices.call("PING")
        self.reads.abort()
        self.notices.abort()

    def on_push(self, push):
        _, kid, *_ = notices.decode_notice(push[2])
        self.records.pop(kid, None)

    async def find(self, kid):
        if kid not in self.records:
            found = await self.reads.call("HGETALL", schema.key(kid))
            self.records[kid] = schema.decode(kid, found)
        return self.records[kid]


def fill(valkey):
    """Active keys, as if each had been issued by one change."""
    records = [make_record(kid=f"{n:016}", version=n) for n in range(1, KEYS + 1)]
    pipeline = valkey.admin.pipeline()
    for record in records:
        fields = schema.encode(record) | {"version": str(record.version)}
        pipeline.hset(schema.key(record.kid), mapping=fields)
    pipeline.set(schema.SEQ, KEYS)
    pipeline.execute()
    return records


def disable(writer, record, seq):
    """The heart of a change, on a connection of its own: the data first, then the notice."""
    writer.send(ignore, "SET", schema.SEQ, str(seq))
    writer.send(ignore, "HSET", schema.key(record.kid), "status", "disabled", "version", str(seq))
    writer.send(ignore, "PUBLISH", schema.CHANGES, f"{seq} {record.kid} disabled")


async def read_and_change(records, writer, caches):
    """Read each key and disable it, many at the same moment and in any order."""
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
    """Reads and changes of many keys at the same moment leave no stale record in the cache.

    Disabling, not revoking: that a revocation is remembered must not hide what order has missed.
    """
    records = fill(valkey)
    writer, naive = await connected(valkey.endpoint), NaiveCache()
    await naive.connect(valkey.endpoint)
    async with Sidecar(valkey.endpoint, lease=10) as sidecar:
        await sidecar.trusted()
        await read_and_change(records, writer, [sidecar, naive])
        await sidecar.caught_up(2 * KEYS)
        kept = [found for record in records if (found := sidecar.cache.peek(record.kid))]
        gaps = sidecar.probe.events[Event.CHANGE_GAP]
    await naive.close()
    writer.abort()

    stale = [found for found in naive.records.values() if found.status is Status.ACTIVE]
    assert stale  # the race did take place
    assert len(kept) > KEYS / 10
    assert {found.status for found in kept} == {Status.DISABLED}
    assert gaps == 0
