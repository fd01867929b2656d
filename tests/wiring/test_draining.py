"""A sidecar that drains, and gets a second request to end."""

import asyncio
from types import SimpleNamespace

import grpc.aio
import pytest
from envoy.service.auth.v3.external_auth_pb2_grpc import AuthorizationStub

from authz.process.ending import Ending
from authz.wiring import sidecar
from authz.wiring.sidecar import Sidecar
from tests.support.real import eventually
from tests.support.rpc.messages import check_request
from tests.support.rpc.servers import SECONDS, TRANSPORTS, channel, serving
from tests.support.rpc.waiting_handler import WaitingHandler


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("requested_again", [False, True])
async def test_running_checks_end_before_a_second_request(transport, requested_again, monkeypatch):
    """After a second request to end, the sidecar waits for no running Check."""
    monkeypatch.setattr(sidecar, "DRAIN_SECONDS", 600.0)
    handler, ending = WaitingHandler(), Ending()
    ending.request("SIGTERM")
    async with serving(transport, handler) as server, channel(server.address) as connection:
        running = AuthorizationStub(connection).Check(check_request(), timeout=SECONDS)
        await eventually(lambda: handler.waiting == 1)
        draining = asyncio.create_task(Sidecar.drain(SimpleNamespace(server=server), ending))
        await asyncio.sleep(0)
        assert not draining.done()

        if requested_again:
            ending.request("SIGTERM")
            await asyncio.wait_for(draining, SECONDS)
            with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
                await running
        else:
            handler.released.set()
            await running
            await asyncio.wait_for(draining, SECONDS)
