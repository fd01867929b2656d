"""A store with several partitions, for tests of usage."""

import contextlib
from collections import Counter
from dataclasses import replace

from authz.core.keys.text import KID_PATTERN, new_kid
from authz.core.partitions import Partitions
from authz.core.usage.counts import Level
from authz.core.usage.parts import Parts
from authz.core.usage.ports import Counted
from authz.flows.usage.meter import Meter
from authz.flows.usage.partitioned_meter import PartitionedMeter
from authz.storage.endpoint import Endpoint
from authz.storage.moved import StoredMoved
from tests.support import meter_runs
from tests.support.real import Valkey
from tests.support.storage.partitioned import parts_of
from tests.support.usage import KID, MINUTE, committed, line
from tests.support.usage_counting import open_link
from tests.support.usage_faults import RecordingMeterProbe

COUNT = 8
PARTITIONS = Partitions(COUNT)
TODAY = range(MINUTE // 1440, MINUTE // 1440 + 1)


def kid_of(partition: int) -> str:
    """Return a kid of a partition."""
    return next(kid for kid in iter(new_kid, "") if PARTITIONS.of(kid) == partition)


def client_of(partition: int) -> str:
    """Return a client whose home is a partition."""
    clients = (f"c{number}" for number in range(1000))
    return next(client for client in clients if PARTITIONS.home(client) == partition)


KIDS = [kid_of(partition) for partition in range(COUNT)]
OWNERS = [f"{client_of(partition)} - - - -" for partition in range(COUNT)]


def line_of(partition: int, **fields) -> bytes:
    """Return an entry about the key of a partition."""
    return line(kid=KIDS[partition], owners=OWNERS[partition], **fields)


def partitioned(stores, clock, kind=PartitionedMeter, **options):
    """Return a meter over the stores of all partitions."""
    probe = RecordingMeterProbe()
    options = {"period": 0.001, "max_bytes": 1 << 20} | options
    meters = [Meter(each, clock, probe, **options) for each in stores]
    return kind(meters, probe, max_bytes=options["max_bytes"])


def running(stores, clock, **options):
    """A meter over the stores of all partitions, which runs."""
    return meter_runs.running(partitioned(stores, clock, **options))


async def requests(memories) -> Counter:
    """Return how many requests each partition counted today, by partition and kid."""
    found = Counter()
    for partition, memory in enumerate(memories):
        for kid in KIDS:
            counts = (await memory.counts(kid, Level.DAY, TODAY)).values()
            found[partition, kid] += sum(one.requests for one in counts)
    return +found


def initialised(valkey: Valkey, count: int = COUNT) -> tuple[Endpoint, ...]:
    """Set up a store with so many partitions as `authz init` does, without peppers."""
    endpoints = replace(valkey.endpoint, count=count).partitions()
    for endpoint in endpoints:
        names = endpoint.names
        fields = {"schema": "1", "partitions": str(count), "partition": str(names.partition)}
        valkey.admin.hset(names.meta, mapping=fields if count > 1 else {"schema": "1"})
    if count > 1:
        signpost = {"schema": "1", "partitions": str(count), "complete": "1"}
        valkey.admin.hset(valkey.endpoint.names.meta, mapping=signpost)
    return endpoints


class PartitionedLinks:
    """A UsageStore over the links of all partitions, which takes entries, too.

    A key lies in the home of the owner in its first entry. Its kid leads there, as a moved key.
    """

    def __init__(self, links, parts):
        self.links = links
        self.parts = parts
        self.homes = {}

    def now_ms(self):
        """Implement UsageStore.now_ms."""
        return self.links[0].now_ms()

    async def commit(self, commit, digests, arrived_ms):
        """Implement UsageStore.commit, for the keys of one partition, by default that of KID."""
        homes = {self.homes.get(kid, PARTITIONS.of(kid)) for kid in commit.keys or {KID}}
        (home,) = homes
        return await self.links[home].commit(commit, digests, arrived_ms)

    async def add(self, lines, clocks, digests, arrived_ms):
        """Add these entries as the meter does, each part in its partition."""
        divided = {}
        for one in lines:
            divided.setdefault(await self.home(one), []).append(one)
        replies = [
            await self.links[at].commit(committed(*part, clocks=clocks), digests, arrived_ms)
            for at, part in divided.items()
        ]
        others = [reply for reply in replies if not isinstance(reply, Counted)]
        return others[0] if others else Counted(sum(reply.full for reply in replies))

    async def home(self, one):
        """Return the partition of an entry."""
        (at,) = Parts(PARTITIONS).of([one])
        kid = one.split(b" ")[2].decode(errors="replace")
        if not KID_PATTERN.fullmatch(kid):
            return at
        if kid not in self.homes:
            self.homes[kid] = at
            if at != PARTITIONS.of(kid):
                moved = StoredMoved(self.parts.clients[PARTITIONS.of(kid)])
                await moved.save({kid: at})
        return self.homes[kid]


async def add_entries(store, lines, clocks, digests, arrived_ms):
    """Add these entries to a UsageStore in one batch, or to each of its partitions."""
    if isinstance(store, PartitionedLinks):
        return await store.add(lines, clocks, digests, arrived_ms)
    return await store.commit(committed(*lines, clocks=clocks), digests, arrived_ms)


@contextlib.asynccontextmanager
async def stored_usage(valkey: Valkey, kept, count: int = COUNT, **options):
    """A UsageStore on a server, and the parts of that store, with so many partitions."""
    endpoints = initialised(valkey, count)
    async with contextlib.AsyncExitStack() as stack:
        links = [
            await stack.enter_async_context(open_link(endpoint, kept, **options))
            for endpoint in endpoints
        ]
        parts = await stack.enter_async_context(parts_of(valkey, count))
        yield (links[0] if count == 1 else PartitionedLinks(links, parts)), parts
