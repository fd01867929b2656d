"""A meter over a store with several partitions, as a process of its own is put together."""

from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import pytest

from authz.core.usage.counts import Level
from authz.settings.model import Settings
from authz.storage.usage.stored_usage import StoredUsage
from authz.wiring.meter import meter_process
from tests.support.metered_partitions import COUNT, KIDS, initialised, line_of
from tests.support.metering import batch, export
from tests.support.real import RealClock, eventually
from tests.support.usage import line


@asynccontextmanager
async def running(valkey, partitions=COUNT):
    """A meter in this process."""
    ours = {"listen": "127.0.0.1:0", "ops_listen": "127.0.0.1:0", "commit_interval": "10ms"}
    redis = {"url": valkey.url, "partitions": partitions}
    async with meter_process(Settings.parse({"meter": ours, "redis": redis})) as meter:
        yield meter


def entry(**fields) -> bytes:
    """Return an entry of a request that has just ended."""
    return line(started=RealClock().wall_ms(), milliseconds="0", **fields)


def entry_of(partition: int) -> bytes:
    """Return such an entry about the key of a partition."""
    return line_of(partition, started=RealClock().wall_ms(), milliseconds="0")


async def seen(endpoints) -> list[tuple[int, int]]:
    """Return for each partition the requests of its key, and the entries of processes."""
    day = RealClock().wall_ms() // 86_400_000
    found = []
    async with AsyncExitStack() as stack:
        for endpoint, kid in zip(endpoints, KIDS, strict=True):
            usage = StoredUsage(await stack.enter_async_context(endpoint.client()))
            counts = await usage.counts(kid, Level.DAY, range(day - 1, day + 1))
            number = sum(one.requests for one in counts.values())
            found.append((number, sum(one.seen for one in await usage.processes())))
    return found


async def test_a_batch_is_counted_in_all_partitions(valkey):
    """Each partition has its part and the charge ids of its part. A repetition adds nothing."""
    endpoints = initialised(valkey)
    raw = batch(*map(entry_of, range(COUNT)), entry(kid="-", secret="-"))
    async with running(valkey) as meter:
        await eventually(
            lambda: (
                meter.readiness.report()[1]["store"]
                == {"ready": True, "reason": "", "partitions": COUNT}
            )
        )
        await export(meter.listen, raw)
        await export(meter.listen, raw)
    assert await seen(endpoints) == [(1, 2)] + [(1, 1)] * 7


async def test_a_partition_that_is_gone(valkey):
    """The meter stays ready, names it, and confirms no batch with an entry for it."""
    endpoints = initialised(valkey)
    valkey.admin.delete(endpoints[3].names.meta)
    raw, others = batch(*map(entry_of, range(COUNT))), batch(entry_of(5))
    async with running(valkey) as meter:
        await eventually(lambda: "3" in meter.readiness.report()[1]["store"].get("missing", {}))
        await eventually(lambda: len(meter.readiness.report()[1]["store"]["missing"]) == 1)
        assert meter.readiness()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await export(meter.listen, raw)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        await export(meter.listen, others)
        assert await seen(endpoints) == [(0, 0)] * 5 + [(1, 1)] + [(0, 0)] * 2
        initialised(valkey)
        await eventually(lambda: "missing" not in meter.readiness.report()[1]["store"])
        await export(meter.listen, raw)
    assert await seen(endpoints) == [(1, 1)] * 5 + [(2, 2)] + [(1, 1)] * 2


@pytest.mark.parametrize(("ours", "theirs"), [(1, 8), (8, 1), (48, 8)])
async def test_a_store_with_another_number_of_partitions(valkey, ours, theirs):
    """The meter counts nothing there."""
    initialised(valkey, theirs)
    async with running(valkey, ours) as meter:
        wanted = "partitions is 8, redis.partitions is 1" if ours == 1 else "no partition can"
        await eventually(lambda: wanted in meter.readiness.report()[1]["store"]["reason"])
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await export(meter.listen, batch(entry()))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert not valkey.admin.keys("*:use:*")
