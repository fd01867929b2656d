"""Behaviour that both transports share."""

import asyncio

import grpc
import grpc.aio
import pytest
import uvloop
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from envoy.service.auth.v3.external_auth_pb2_grpc import AuthorizationStub
from grpc_health.v1 import health_pb2, health_pb2_grpc

from authz.core.listen_address import Address
from authz.process.listener import ConnectionLimits
from authz.rpc.services import CHECK_SERVICE
from tests.support.real import eventually
from tests.support.rpc.door import Door
from tests.support.rpc.messages import check_request
from tests.support.rpc.servers import SECONDS, TRANSPORTS, ask, channel, serving
from tests.support.rpc.waiting_handler import WaitingHandler

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture(params=TRANSPORTS)
def transport(request) -> str:
    """Each transport."""
    return request.param


@pytest.fixture
def door() -> Door:
    """A handler over an empty store."""
    return Door()


@pytest.fixture(params=["tcp", "unix"])
def address(request, tmp_path) -> Address:
    """A TCP address, then a Unix socket."""
    if request.param == "tcp":
        return Address("127.0.0.1", 0)
    return Address("", 0, str(tmp_path / "check.sock"))


async def test_a_check_is_answered(transport, door, address):
    """Allow and deny over TCP and over a Unix socket."""
    record, key = door.issue()
    await door.answer(check_request([("x-api-key", key)]))
    async with serving(transport, door, address) as server:
        allowed = await ask(server.address, check_request([("x-api-key", key)]))
        denied = await ask(server.address, check_request())
    assert allowed.dynamic_metadata["key_id"] == record.kid
    assert (allowed.status.code, denied.denied_response.status.code) == (0, 401)


async def test_a_blocking_client_is_answered_too(transport, door, address):
    """A client with a synchronous library is served."""

    def call() -> CheckResponse:
        with grpc.insecure_channel(str(server.address)) as connection:
            return AuthorizationStub(connection).Check(check_request(), timeout=SECONDS)

    async with serving(transport, door, address) as server:
        answer = await asyncio.to_thread(call)
    assert answer.denied_response.status.code == 401


def test_the_server_runs_on_uvloop(transport, door, address):
    """uvloop gives the same answers."""

    async def main() -> int:
        async with serving(transport, door, address) as server:
            return (await ask(server.address, check_request())).denied_response.status.code

    assert uvloop.run(main()) == 401


async def test_many_calls_on_one_connection_get_each_their_own_answer(transport, door):
    """With hits and misses mixed, each response belongs to its request."""
    issued = [door.issue(kid=f"{number:016}") for number in range(20)]
    async with serving(transport, door) as server, channel(server.address) as connection:
        check = AuthorizationStub(connection).Check
        for _ in range(2):
            calls = [
                check(check_request([("x-api-key", key)]), timeout=SECONDS) for _, key in issued
            ]
            answers = asyncio.gather(*calls)
            while not answers.done():
                door.source.answer_all()
                await asyncio.sleep(0)
            told = [answer.dynamic_metadata["key_id"] for answer in await answers]
            assert told == [record.kid for record, _ in issued]


async def test_garbage_is_answered_not_refused(transport, door):
    """No bytes of a client become a gRPC error, which a proxy may be told to let through."""
    async with serving(transport, door) as server, channel(server.address) as connection:
        call = connection.unary_unary(f"/{CHECK_SERVICE}/Check")
        for raw in (b"", b"\xff\xff", b"\x0a\xff"):
            answer = CheckResponse.FromString(await call(raw, timeout=SECONDS))
            assert answer.denied_response.status.code == 400


async def test_health_follows_readiness(transport, door):
    """Health is NOT_SERVING while the sidecar is not ready. Liveness is always SERVING."""
    ready = False

    async def status(name: str) -> int:
        return (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status

    async with serving(transport, door) as server, channel(server.address) as connection:
        stub = health_pb2_grpc.HealthStub(connection)
        assert await status("") == NOT_SERVING
        assert await status("liveness") == SERVING
        showing = asyncio.create_task(server.show(lambda: ready))
        for ready in (True, False, True):
            wanted = SERVING if ready else NOT_SERVING
            for name in ("", CHECK_SERVICE, "readiness"):
                await eventually(lambda: _is(status(name), wanted))  # noqa: B023  awaited here
            assert await status("liveness") == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await status("nobody")
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
        showing.cancel()


async def _is(asked, wanted) -> bool:
    return await asked == wanted


@pytest.mark.parametrize("method", [f"/{CHECK_SERVICE}/Nope", "/other.Service/Check", "/"])
async def test_what_is_not_offered_is_unimplemented(transport, door, method):
    """Only Check and health are served."""
    async with serving(transport, door) as server, channel(server.address) as connection:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await connection.unary_unary(method)(b"", timeout=SECONDS)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_message_over_the_limit_is_refused_and_the_connection_goes_on(transport, door):
    """The limit is far above the size of a Check without a body."""
    over = CheckRequest()
    over.attributes.request.http.body = "x" * ConnectionLimits().message_bytes
    async with serving(transport, door) as server, channel(server.address) as connection:
        check = AuthorizationStub(connection).Check
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await check(over, timeout=SECONDS)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        most = check_request()
        most.attributes.request.http.body = "x" * (ConnectionLimits().message_bytes - 1000)
        assert (await check(most, timeout=SECONDS)).denied_response.status.code == 401


async def test_a_client_that_gives_up_cancels_its_call(transport):
    """A cancel and a deadline leave no task running."""
    door = WaitingHandler()
    async with serving(transport, door) as server, channel(server.address) as connection:
        check = AuthorizationStub(connection).Check
        given_up = check(check_request())
        await eventually(lambda: door.waiting == 1)
        given_up.cancel()
        await eventually(lambda: door.cancelled == 1)
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await check(check_request(), timeout=0.05)
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await eventually(lambda: door.cancelled == door.waiting)


async def test_a_client_that_gives_up_does_not_end_the_lookup(transport, door):
    """The record still arrives, and the next request finds it in the cache."""
    record, key = door.issue()
    message = check_request([("x-api-key", key)])
    async with serving(transport, door) as server, channel(server.address) as connection:
        given_up = AuthorizationStub(connection).Check(message)
        await eventually(lambda: door.source.pending == [record.kid])
        given_up.cancel()
        door.source.answer_all()
        assert (await ask(server.address, message)).status.code == 0
    assert door.source.loads[record.kid] == 1


async def test_stopping_lets_a_running_call_end(transport):
    """New calls are refused while a running one gets its response."""
    door = WaitingHandler()
    async with serving(transport, door) as server, channel(server.address) as connection:
        check = AuthorizationStub(connection).Check
        running = check(check_request(), timeout=SECONDS)
        await eventually(lambda: door.waiting == 1)
        stopping = asyncio.create_task(server.stop(SECONDS))
        await eventually(lambda: _is_refused(server.address))
        assert not running.done()
        assert not stopping.done()
        door.released.set()
        assert await running == CheckResponse()
        await stopping


async def test_stopping_does_not_wait_for_ever(transport):
    """A running call ends when the grace is over."""
    door = WaitingHandler()
    async with serving(transport, door) as server, channel(server.address) as connection:
        running = AuthorizationStub(connection).Check(check_request(), timeout=SECONDS)
        await eventually(lambda: door.waiting == 1)
        await server.stop(0.05)
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            await running


async def _is_refused(address: Address) -> bool:
    try:
        async with channel(address) as connection:
            await AuthorizationStub(connection).Check(check_request(), timeout=0.05)
    except grpc.aio.AioRpcError as refused:
        return refused.code() is grpc.StatusCode.UNAVAILABLE
    return False
