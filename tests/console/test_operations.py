"""The operations listener: health and readiness over HTTP."""

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvloop

from authz.console.operations import OperationsServer
from authz.core.errors import BadInput
from authz.core.listen_address import Address

LOOPBACK = Address("127.0.0.1", 0)


@contextlib.asynccontextmanager
async def serving(address: Address = LOOPBACK) -> AsyncIterator[OperationsServer]:
    """A server that is stopped at the end."""
    server = OperationsServer(address, "1.2.3")
    try:
        await server.start()
        yield server
    finally:
        await server.stop()


@pytest.fixture(params=["tcp", "unix"])
def address(request, tmp_path) -> Address:
    """Where to listen."""
    return LOOPBACK if request.param == "tcp" else Address("", 0, str(tmp_path / "ops.sock"))


async def fetch(address: Address, path: str, method: str = "GET") -> tuple[int, str]:
    """The status and the body of one request on a connection of its own."""
    if address.path:
        reader, writer = await asyncio.open_unix_connection(address.path)
    else:
        reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: ops\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return int(head.split()[1]), body


async def test_a_process_that_turns_is_healthy(address):
    """Whatever the store does: a restart would only lose what is remembered."""
    async with serving(address) as server:
        server.ask(lambda: (False, {}))
        status, body = await fetch(server.address, "/healthz")
    assert (status, json.loads(body)) == (200, {"status": "ok", "version": "1.2.3"})


def test_it_turns_on_the_loop_of_the_sidecar(address):
    """uvloop takes the same sockets."""

    async def main() -> int:
        async with serving(address) as server:
            return (await fetch(server.address, "/healthz"))[0]

    assert uvloop.run(main()) == 200


async def test_readiness_is_asked_each_time_and_gives_reasons(address):
    """200 or 503, and the components as they are now."""
    async with serving(address) as server:
        for trusted in (False, True, False):
            components = {"store": {"trusted": trusted, "reason": "the store is away"}}
            server.ask(lambda ready=trusted, parts=components: (ready, parts))
            status, body = await fetch(server.address, "/readyz")
            assert status == (200 if trusted else 503)
            assert json.loads(body) == {
                "status": "ready" if trusted else "not_ready",
                "version": "1.2.3",
                "components": components,
            }


async def test_it_is_not_ready_before_anybody_says_so():
    """A probe that comes early is told to come again."""
    async with serving() as server:
        assert (await fetch(server.address, "/readyz"))[0] == 503


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("HEAD", "/healthz", 200),
        ("GET", "/", 404),
        ("GET", "/healthz/x", 404),
        ("POST", "/healthz", 405),
        ("DELETE", "/readyz", 405),
    ],
)
async def test_there_is_nothing_else(method, path, status):
    """Two paths, to be read."""
    async with serving() as server:
        assert (await fetch(server.address, path, method))[0] == status


async def test_a_failing_readiness_is_an_error_and_no_end():
    """A bug there is a 500, and the next probe is answered."""
    async with serving() as server:
        server.ask(lambda: 1 / 0)
        assert (await fetch(server.address, "/readyz"))[0] == 500
        assert (await fetch(server.address, "/healthz"))[0] == 200


async def test_a_port_that_is_taken_is_said_to_be():
    """And the first goes on."""
    async with serving() as first:
        with pytest.raises(BadInput, match=r"^ops\.listen: 127.0.0.1:\d+: Address already in use"):
            OperationsServer(first.address, "1.2.3")
        assert (await fetch(first.address, "/healthz"))[0] == 200


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        (Address("192.0.2.1", 9192), "Cannot assign requested address"),
        (Address("ü" * 70, 9192), "not a host name"),
        (Address("", 0, "/no/such/directory/s"), "No such file or directory"),
        (Address("", 0, f"/tmp/{'x' * 108}"), "path too long"),
    ],
)
def test_an_address_that_cannot_be_used_is_explained(address, problem):
    """One line that says what the operating system said."""
    with pytest.raises(BadInput, match=f"^ops\\.listen: .*{problem}; name another"):
        OperationsServer(address, "1.2.3")


async def test_a_socket_path_has_one_server(tmp_path):
    """A second one is refused, the first goes on, and its path goes with it."""
    path = Address("", 0, str(tmp_path / "ops.sock"))
    for _ in range(2):
        async with serving(path):
            with pytest.raises(BadInput, match="Address already in use"):
                OperationsServer(path, "1.2.3")
            assert (await fetch(path, "/healthz"))[0] == 200
        assert not Path(path.path).exists()


async def test_a_socket_that_nobody_answers_on_is_replaced(tmp_path):
    """As a killed process leaves it."""
    path = Address("", 0, str(tmp_path / "ops.sock"))
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path.path)
    async with serving(path):
        assert (await fetch(path, "/healthz"))[0] == 200


async def test_a_socket_whose_server_is_busy_is_left_alone(tmp_path):
    """A full queue is no sign of death."""
    path = Address("", 0, str(tmp_path / "ops.sock"))
    with socket.socket(socket.AF_UNIX) as busy, contextlib.ExitStack() as clients:
        busy.bind(path.path)
        busy.listen(0)
        for _ in range(10):
            client = clients.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(path.path)
        with pytest.raises(BadInput, match="Address already in use"):
            OperationsServer(path, "1.2.3")
        assert Path(path.path).exists()


async def test_a_file_in_the_place_of_a_socket_is_left_alone(tmp_path):
    """A mistyped path destroys nothing."""
    (tmp_path / "ops.sock").write_text("precious")
    with pytest.raises(BadInput, match="Address already in use"):
        OperationsServer(Address("", 0, str(tmp_path / "ops.sock")), "1.2.3")
    assert (tmp_path / "ops.sock").read_text() == "precious"


async def test_a_server_that_is_stopped_answers_nobody(address):
    """Its address is free again, also when it never started."""
    async with serving(address) as server:
        assert (await fetch(server.address, "/healthz"))[0] == 200
    with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
        await fetch(server.address, "/healthz")
    await OperationsServer(server.address, "1.2.3").stop()
    async with serving(server.address) as again:
        assert (await fetch(again.address, "/healthz"))[0] == 200


async def test_an_open_connection_does_not_hold_up_the_stop():
    """A probe's idle keep-alive is closed."""
    async with serving() as server:
        reader, writer = await asyncio.open_connection(server.address.host, server.address.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: ops\r\n\r\n")
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    await reader.read()
    writer.close()
    await writer.wait_closed()


async def test_it_says_nothing_in_ordinary_use(address, caplog):
    """The sidecar's log tells where it listens; the web server's own words would repeat it."""
    with caplog.at_level(logging.INFO):
        async with serving(address) as server:
            await fetch(server.address, "/healthz")
            await fetch(server.address, "/nowhere")
    assert [record for record in caplog.records if record.name != "asyncio"] == []


async def test_the_page_of_metrics_is_who_writes_it_s(address):
    """By what the client accepts; where nobody writes it, it is not there."""
    async with serving(address) as server:
        status, body = await fetch(server.address, "/metrics")
        assert (status, body) == (404, "telemetry.metrics is off\n")
        server.publish(lambda accept: (f"accepts {accept!r}\n".encode(), "text/plain"))
        assert await fetch(server.address, "/metrics") == (200, "accepts ''\n")
