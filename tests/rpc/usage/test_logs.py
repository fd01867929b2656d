"""Export over a real connection: answered when the store has the batch, and not before."""

import asyncio
import contextlib

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest as Otlp,
)

from authz.core.listen_address import Address
from authz.core.usage.counts import Level
from authz.core.usage.events import MeterEvent
from authz.flows.usage.meter import Meter
from authz.process.listener import ConnectionLimits
from authz.rpc.h2.server import FastServer
from authz.rpc.usage.logs import LogsHandler
from tests.support.fakes import FakeClock, RecordingProbe
from tests.support.memory_usage import MemoryUsage
from tests.support.metering import batch, export
from tests.support.real import eventually
from tests.support.usage import KID, MINUTE, NOW, line
from tests.support.usage_faults import FaultyUsage, RecordingMeterProbe

DAY = range(MINUTE // 1440, MINUTE // 1440 + 1)
TOKEN = "t" * 32


class Listening:
    """A meter in memory behind a listener."""

    def __init__(self, faults=(), **options):
        clock = FakeClock(NOW)
        self.memory = MemoryUsage(clock)
        self.probe = RecordingMeterProbe()
        store = FaultyUsage(self.memory, iter(faults))
        self.meter = Meter(store, clock, self.probe, period=0.001, **options)

    @contextlib.asynccontextmanager
    async def serving(self, **options):
        """Serve until the block ends. Yield the address."""
        server = FastServer(
            None,
            Address("127.0.0.1", 0),
            probe=RecordingProbe(),
            methods=LogsHandler(self.meter.take, self.probe).methods,
            **options,
        )
        await server.start()
        run = asyncio.create_task(self.meter.run())
        try:
            yield server.address
        finally:
            run.cancel()
            await server.stop(0)
            await asyncio.gather(run, return_exceptions=True)

    async def requests(self):
        """The number of counted requests of the key."""
        found = await self.memory.counts(KID, Level.DAY, DAY)
        return sum(counts.requests for counts in found.values())


async def refused(answer) -> grpc.aio.AioRpcError:
    """Return the error of a call."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answer
    return caught.value


async def test_a_batch_is_answered_when_it_is_counted():
    """OK means that the store has the counts; an empty message is OK at once."""
    listening = Listening(faults=["down"])
    async with listening.serving() as address:
        assert await export(address, batch(line(), line())) == b""
        assert await listening.requests() == 2
        assert listening.probe.events[MeterEvent.COMMIT_FAILED] == 1
        assert await export(address, b"") == b""


async def test_a_whole_message_of_opentelemetry():
    """Fields that are not ours are skipped, and bytes that are not UTF-8 cost nothing."""
    message = Otlp()
    resource = message.resource_logs.add()
    resource.resource.attributes.add(key="a").value.string_value = "b"
    listening = Listening()
    async with listening.serving() as address:
        raw = message.SerializeToString() + batch(line())
        await export(address, raw)
        await export(address, batch(line()[:-3] + b"\xff\xfe"))
    assert await listening.requests() == 2


async def test_garbage():
    """Bytes that are no message are refused and counted, and are never an error of ours."""
    listening = Listening()
    async with listening.serving() as address:
        error = await refused(export(address, b"\xff" * 100))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        await export(address, batch(b"", b"\x00\xff", b"3 x", line()))
    assert listening.probe.events[MeterEvent.BATCH_GARBLED] == 1
    assert sum(listening.probe.causes.values()) == 3
    assert await listening.requests() == 1


async def test_a_batch_that_is_too_large():
    """A message over the bound is refused without being read."""
    listening = Listening()
    async with listening.serving(limits=ConnectionLimits(message_bytes=65_536)) as address:
        error = await refused(export(address, b"\x00" * 10_000_000))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await export(address, batch(line()))
    assert await listening.requests() == 1


async def test_back_pressure():
    """Beyond the bound the answer is UNAVAILABLE, with the time after which to come again."""
    listening = Listening(max_bytes=1)
    listening.meter.leaving = "stopping"
    async with listening.serving() as address:
        error = await refused(export(address, batch(line())))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        details = dict(error.trailing_metadata())["grpc-status-details-bin"]
        delay = RetryInfo()
        assert Status.FromString(details).details[0].Unpack(delay)
        assert delay.retry_delay.ToMilliseconds() == 1000


async def test_a_sender_that_gives_up():
    """A sender that leaves loses no count: the batch is counted, and its repetition is not."""
    listening = Listening(faults=["down"] * 3)
    raw = batch(line())
    async with listening.serving() as address:
        call = asyncio.create_task(export(address, raw))
        await eventually(lambda: listening.meter.waiting == 1)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert await export(address, raw) == b""
    assert await listening.requests() == 1


@pytest.mark.parametrize("token", ["", "x" * 32, TOKEN[:-1], TOKEN + "t"])
async def test_a_stranger(token):
    """Without the shared token nothing is taken."""
    listening = Listening()
    async with listening.serving(tokens=(b"o" * 32, TOKEN.encode())) as address:
        error = await refused(export(address, batch(line()), token=token))
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert await listening.requests() == 0
        await export(address, batch(line()), token=TOKEN)
        await export(address, batch(line()), token="o" * 32)
    assert await listening.requests() == 2
