"""A sidecar that drains, and is told again to end."""

import asyncio
from types import SimpleNamespace

import grpc.aio
import pytest
from envoy.service.auth.v3.external_auth_pb2_grpc import AuthorizationStub

from authz.process.ending import Ending
from authz.wiring import sidecar
from authz.wiring.sidecar import Sidecar
from tests.rpc.test_transports import WaitingDoor
from tests.support.real import eventually
from tests.support.rpc.messages import check_request
from tests.support.rpc.servers import SECONDS, TRANSPORTS, channel, serving


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("told_again", [False, True])
async def test_running_checks_end_unless_it_is_told_again(transport, told_again, monkeypatch):
    """Then nobody is waited for, however long a drain may take."""
    monkeypatch.setattr(sidecar, "DRAIN_SECONDS", 600.0)
    door, ending = WaitingDoor(), Ending()
    ending.tell("SIGTERM")
    async with serving(transport, door) as server, channel(server.address) as connection:
        running = AuthorizationStub(connection).Check(check_request(), timeout=SECONDS)
        await eventually(lambda: door.waiting == 1)
        draining = asyncio.create_task(Sidecar.drain(SimpleNamespace(server=server), ending))
        await asyncio.sleep(0)
        assert not draining.done()

        if told_again:
            ending.tell("SIGTERM")
            await asyncio.wait_for(draining, SECONDS)
            with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
                await running
        else:
            door.released.set()
            await running
            await asyncio.wait_for(draining, SECONDS)
