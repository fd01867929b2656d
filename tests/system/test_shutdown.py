"""The end of a sidecar process, and its health meanwhile."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from authz.core.listen_address import Address
from authz.rpc.services import CHECK_SERVICE
from tests.support.real import Valkey, eventually, free_port
from tests.support.rpc.messages import check_request
from tests.support.rpc.servers import TRANSPORTS, ask, channel
from tests.support.serving import Serving, prepared

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
LONG = "10m"  # no test takes that long

Serve = Callable[..., Serving]


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    """The transport of Checks."""
    return request.param


@pytest.fixture
async def serve(tmp_path: Path, valkey: Valkey, transport: str) -> AsyncIterator[Serve]:
    """Return a function that starts a ready sidecar with this delay."""
    with ExitStack() as opened:

        async def start(delay: str, **ops: str) -> Serving:
            more = {"check": {"transport": transport}, "shutdown": {"delay": delay}, "ops": ops}
            sidecar = Serving(tmp_path, valkey, more)
            sidecar.key = (await prepared(sidecar.file))[0].key_text
            opened.enter_context(sidecar)
            await eventually(sidecar.is_ready)
            return sidecar

        yield start


async def said(target: str) -> dict[str, int]:
    """Return the answers of grpc.health.v1, by service."""
    async with channel(Address.parse("", target)) as connection:
        check = health_pb2_grpc.HealthStub(connection).Check
        names = ("", CHECK_SERVICE, "readiness", "liveness")
        return {
            name: (await check(health_pb2.HealthCheckRequest(service=name), timeout=5)).status
            for name in names
        }


def ready_and_alive(target: str) -> Callable[[], Any]:
    """Return readiness and liveness over gRPC."""

    async def look() -> bool:
        return set((await said(target)).values()) == {SERVING}

    return look


async def answer_code(sidecar: Serving) -> int:
    """Return the gRPC code of one Check."""
    message = check_request([("x-api-key", sidecar.key)])
    return (await ask(Address.parse("", sidecar.check), message)).status.code


async def test_after_sigterm_it_is_not_ready_and_serves_on(serve: Serve) -> None:
    """After SIGTERM it is not ready, and still answers until the delay is over."""
    sidecar = await serve(LONG)
    await eventually(ready_and_alive(sidecar.check))

    sidecar.tell(signal.SIGTERM)
    await eventually(lambda: not sidecar.is_ready())
    status, document = sidecar.look()
    healthy, _ = sidecar.look("/healthz")
    told = await eventually(lambda: leaving(sidecar.check))
    answered = await answer_code(sidecar)

    assert (status, document["status"], healthy) == (503, "not_ready", 200)
    assert document["components"]["process"] == {"ready": False, "reason": "stopping: SIGTERM"}
    assert document["components"]["store"]["ready"]
    assert told["liveness"] == SERVING
    assert answered == 0


async def test_it_lives_until_the_delay_is_over(serve: Serve) -> None:
    """The process ends with status 0, and not before the delay is over."""
    sidecar = await serve("1s")
    told = time.monotonic()

    sidecar.tell(signal.SIGTERM)

    assert await asyncio.to_thread(sidecar.wait) == 0
    assert time.monotonic() - told >= 1


async def leaving(target: str) -> dict[str, int]:
    """Return the answers of grpc.health.v1 if only liveness is ready, else an empty dictionary.

    They are asked one after the other: the first may still be ready where the last is not.
    """
    found = await said(target)
    return found if found | {"liveness": NOT_SERVING} == dict.fromkeys(found, NOT_SERVING) else {}


async def test_a_second_sigterm_ends_it_at_once(serve: Serve) -> None:
    """A second SIGTERM ends it at once, with status 0, whatever the delay."""
    sidecar = await serve(LONG)
    sidecar.tell(signal.SIGTERM)
    await eventually(lambda: not sidecar.is_ready())
    assert not sidecar.has_ended()

    sidecar.tell(signal.SIGTERM)

    assert await asyncio.to_thread(sidecar.wait) == 0
    assert "Traceback" not in sidecar.log.read_text()


async def test_ctrl_c_waits_for_no_proxy(serve: Serve) -> None:
    """SIGINT ends it without the delay."""
    sidecar = await serve(LONG)

    sidecar.tell(signal.SIGINT)

    assert await asyncio.to_thread(sidecar.wait) == 0


async def test_health_can_have_a_listener_of_its_own(serve: Serve) -> None:
    """The health listener has the answers of the Check listener, and answers no Check."""
    where = f"127.0.0.1:{free_port()}"
    sidecar = await serve(LONG, health_listen=where)
    await eventually(ready_and_alive(where))

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ask(Address.parse("", where), check_request())
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED

    sidecar.tell(signal.SIGTERM)
    await eventually(lambda: not sidecar.is_ready())
    assert (await eventually(lambda: leaving(where)))["liveness"] == SERVING


async def test_a_health_listener_beyond_loopback_needs_no_tls(serve: Serve) -> None:
    """The health listener takes no keys, so it needs no TLS."""
    port = free_port()
    await serve("0", health_listen=f"0.0.0.0:{port}")

    await eventually(ready_and_alive(f"127.0.0.1:{port}"))


async def test_a_health_address_that_is_taken_is_named(tmp_path: Path, own_valkey: Valkey) -> None:
    """A taken health address gives one line and exit code 2."""
    more = {"ops": {"health_listen": f"127.0.0.1:{own_valkey.port}"}}
    with Serving(tmp_path, own_valkey, more) as sidecar:
        assert await asyncio.to_thread(sidecar.wait) == 2
    last = sidecar.log.read_text().splitlines()[-1]
    assert last.startswith(f"authz: ops.health_listen: 127.0.0.1:{own_valkey.port}: ")
