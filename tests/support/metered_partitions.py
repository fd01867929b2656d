"""A store with several partitions, for tests of usage."""

import asyncio
import contextlib
from dataclasses import replace

from authz.core.keys.text import new_kid
from authz.core.partitions import Partitions
from authz.flows.usage.meter import Meter
from authz.flows.usage.partitioned_meter import PartitionedMeter
from authz.storage.endpoint import Endpoint
from tests.support.real import Valkey
from tests.support.usage_faults import RecordingMeterProbe

COUNT = 8
PARTITIONS = Partitions(COUNT)


def kid_of(partition: int) -> str:
    """Return a kid of a partition."""
    return next(kid for kid in iter(new_kid, "") if PARTITIONS.of(kid) == partition)


KIDS = [kid_of(partition) for partition in range(COUNT)]


def partitioned(stores, clock, kind=PartitionedMeter, **options):
    """Return a meter over the stores of all partitions."""
    probe = RecordingMeterProbe()
    options = {"period": 0.001, "max_bytes": 1 << 20} | options
    meters = [Meter(each, clock, probe, **options) for each in stores]
    return kind(meters, probe, max_bytes=options["max_bytes"])


@contextlib.asynccontextmanager
async def running(stores, clock, **options):
    """A meter over the stores of all partitions, which runs."""
    meter = partitioned(stores, clock, **options)
    run = asyncio.create_task(meter.run())
    try:
        yield meter
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


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
