"""A listener that serves grpc.health.v1 alone."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame

from authz.core.listen_address import Address
from authz.rpc.h2.server import MAX_PROBES, SERVING, FastServer
from tests.support.fakes import RecordingProbe
from tests.support.h2.client import framed, grpc_fields
from tests.support.h2.wire import wired

HEALTH = grpc_fields(path="/grpc.health.v1.Health/Check")
UNIMPLEMENTED = b"grpc-status\x0212"


async def test_a_health_listener_serves_new_probes_with_few_connections_and_no_checks():
    """At the bound the oldest idle connection is closed, so no client can keep a probe away."""
    probe = RecordingProbe()
    server = FastServer(None, Address("0.0.0.0", 0), probe=probe, allow_plaintext=True)
    await server.start()
    showing = asyncio.create_task(server.show(lambda: True))
    try:
        at = Address("127.0.0.1", server.address.port)
        async with AsyncExitStack() as opened:
            wires = [await opened.enter_async_context(wired(at)) for _ in range(MAX_PROBES)]
            wires[0].greet()
            wires[0].send(wires[0].call(1, b"", HEALTH))
            assert (await wires[0].until(DataFrame, 1)).data == framed(SERVING)
            wires[0].send(wires[0].call(3, b""))
            assert UNIMPLEMENTED in (await wires[0].until(HeadersFrame, 3)).data
            for _ in range(2):
                newest = await opened.enter_async_context(wired(at))
                newest.greet()
                newest.send(newest.call(1, b"", HEALTH))
                assert (await newest.until(DataFrame, 1)).data == framed(SERVING)
            assert len(server._state.open) == MAX_PROBES
            for wire in wires[:2]:
                with pytest.raises((EOFError, ConnectionError)):
                    await wire.until(GoAwayFrame)
            assert probe.events == {}
    finally:
        showing.cancel()
        await server.stop(0)
