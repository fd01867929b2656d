"""The operations listener: liveness, readiness and metrics over HTTP."""

import asyncio
import contextlib
import json
import logging
import os
import socket
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import uvloop
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from authz.console import http_connections
from authz.console.http_connections import MAX_CONNECTIONS
from authz.console.operations import MAX_FORMS, OperationsServer
from authz.core.errors import BadInput
from authz.core.listen_address import Address
from tests.support.listener import full_backlog
from tests.support.real import eventually

LOOPBACK = Address("127.0.0.1", 0)


@contextlib.asynccontextmanager
async def serving(address: Address = LOOPBACK) -> AsyncIterator[OperationsServer]:
    """Run a server and stop it at the end."""
    server = OperationsServer(address, "1.2.3")
    try:
        await server.start()
        yield server
    finally:
        await server.stop()


@pytest.fixture(params=["tcp", "unix"])
def address(request, tmp_path) -> Address:
    """A TCP address, then a Unix socket."""
    return LOOPBACK if request.param == "tcp" else Address("", 0, str(tmp_path / "ops.sock"))


async def fetch(
    address: Address, path: str, method: str = "GET", accept: str = ""
) -> tuple[int, str]:
    """Return the status and the body of one request on its own connection."""
    if address.path:
        reader, writer = await asyncio.open_unix_connection(address.path)
    else:
        reader, writer = await asyncio.open_connection(address.host, address.port)
    wanted = f"Accept: {accept}\r\n" if accept else ""
    head = f"{method} {path} HTTP/1.1\r\nHost: ops\r\nConnection: close\r\n{wanted}\r\n"
    writer.write(head.encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return int(head.split()[1]), body


async def test_liveness_does_not_depend_on_the_store(address):
    """A process that answers is alive: a restart would only lose the cached keys."""
    async with serving(address) as server:
        server.report(lambda: (False, {}))
        status, body = await fetch(server.address, "/healthz")
    assert (status, json.loads(body)) == (200, {"status": "ok", "version": "1.2.3"})


def test_the_server_runs_on_uvloop(address):
    """The sidecar's event loop serves the same sockets."""

    async def main() -> int:
        async with serving(address) as server:
            return (await fetch(server.address, "/healthz"))[0]

    assert uvloop.run(main()) == 200


async def test_a_client_cannot_choose_its_address():
    """Headers of proxies change nothing: addresses restrict keys, and the audit trail has them."""

    async def peer(request: Request) -> PlainTextResponse:
        assert request.client is not None
        return PlainTextResponse(f"{request.client.host} {request.url.scheme}")

    server = OperationsServer(LOOPBACK, "1.2.3", routes=[Route("/peer", peer)])
    await server.start()
    try:
        forged = "*/*\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https"
        found = await fetch(server.address, "/peer", accept=forged)
    finally:
        await server.stop()
    assert found == (200, "127.0.0.1 http")


async def test_readiness_is_asked_each_time_and_gives_reasons(address):
    """Readiness is 200 or 503, with the components as they are at the time of the request."""
    async with serving(address) as server:
        for trusted in (False, True, False):
            components = {"store": {"trusted": trusted, "reason": "the store is away"}}
            server.report(lambda ready=trusted, parts=components: (ready, parts))
            status, body = await fetch(server.address, "/readyz")
            assert status == (200 if trusted else 503)
            assert json.loads(body) == {
                "status": "ready" if trusted else "not_ready",
                "version": "1.2.3",
                "components": components,
            }


async def test_the_server_is_not_ready_before_a_readiness_is_set():
    """A probe that comes early gets 503."""
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
async def test_other_paths_and_methods_are_refused(method, path, status):
    """Only GET and HEAD of the known paths are served."""
    async with serving() as server:
        assert (await fetch(server.address, path, method))[0] == status


async def test_a_failing_readiness_is_an_error_and_no_end():
    """An exception in the readiness is a 500, and the next probe is answered."""
    async with serving() as server:
        server.report(lambda: 1 / 0)
        assert (await fetch(server.address, "/readyz"))[0] == 500
        assert (await fetch(server.address, "/healthz"))[0] == 200


async def test_a_port_that_is_taken_is_refused():
    """The error names the setting, and the first server continues."""
    async with serving() as first:
        with pytest.raises(BadInput, match=r"^ops\.listen: 127.0.0.1:\d+: Address already in use"):
            OperationsServer(first.address, "1.2.3")
        assert (await fetch(first.address, "/healthz"))[0] == 200


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        (Address("192.0.2.1", 9192), "Cannot assign requested address; name another"),
        (Address("ü" * 70, 9192), "not a host name; name another"),
        (Address("", 0, "/no/such/directory/s"), "No such file or directory"),
        (Address("", 0, f"/tmp/{'x' * 108}"), "at most 107 bytes"),
    ],
)
def test_an_address_that_cannot_be_used_is_explained(address, problem):
    """The error is one line with the reason of the operating system."""
    with pytest.raises(BadInput, match=f"^ops\\.listen: .*{problem}"):
        OperationsServer(address, "1.2.3")


async def test_every_address_of_a_name_is_served(monkeypatch):
    """A name with two addresses answers on both, on one port."""
    resolve = socket.getaddrinfo

    def both(host, port, *args, **options):
        hosts = ("127.0.0.1", "127.0.0.2") if host == "ops.test" else (host,)
        return [found for each in hosts for found in resolve(each, port, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    async with serving(Address("ops.test", 0)) as server:
        for host in ("127.0.0.1", "127.0.0.2"):
            assert (await fetch(Address(host, server.address.port), "/healthz"))[0] == 200


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
async def test_a_socket_has_the_mode_that_is_set(tmp_path, mode):
    """The mode does not depend on the umask: a scraper may run as another user."""
    path = tmp_path / "ops.sock"
    before = os.umask(0o077)
    try:
        server = OperationsServer(Address("", 0, str(path)), "1.2.3", mode)
        assert stat.S_IMODE(path.stat().st_mode) == mode
        await server.stop()
    finally:
        os.umask(before)


async def test_a_socket_is_locked_while_it_is_served(tmp_path):
    """Without the socket file the lock still keeps the path."""
    path = tmp_path / "ops.sock"
    async with serving(Address("", 0, str(path))):
        path.unlink()
        with pytest.raises(BadInput, match=r"^ops\.listen: .*served by a live process"):
            OperationsServer(Address("", 0, str(path)), "1.2.3")


async def test_a_socket_path_has_one_server(tmp_path):
    """A second server is refused. The first continues and removes its path at its end."""
    path = Address("", 0, str(tmp_path / "ops.sock"))
    for _ in range(2):
        async with serving(path):
            with pytest.raises(BadInput, match="served by a live process"):
                OperationsServer(path, "1.2.3")
            assert (await fetch(path, "/healthz"))[0] == 200
        assert not Path(path.path).exists()


async def test_a_socket_that_nobody_answers_on_is_replaced(tmp_path):
    """A killed process leaves such a socket."""
    path = Address("", 0, str(tmp_path / "ops.sock"))
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path.path)
    async with serving(path):
        assert (await fetch(path, "/healthz"))[0] == 200


async def test_a_socket_whose_server_is_busy_is_left_alone(tmp_path):
    """A full backlog does not mean that the server is dead."""
    path = Address("", 0, str(tmp_path / "ops.sock"))
    with full_backlog(path.path):
        with pytest.raises(BadInput, match="served by a live process"):
            OperationsServer(path, "1.2.3")
        assert Path(path.path).exists()


async def test_a_file_in_the_place_of_a_socket_is_left_alone(tmp_path):
    """A mistyped path destroys no file."""
    (tmp_path / "ops.sock").write_text("precious")
    with pytest.raises(BadInput, match="is not a socket; remove it or name another"):
        OperationsServer(Address("", 0, str(tmp_path / "ops.sock")), "1.2.3")
    assert (tmp_path / "ops.sock").read_text() == "precious"


async def test_a_stopped_server_frees_its_address(address):
    """The address is free again, also if the server never started."""
    async with serving(address) as server:
        assert (await fetch(server.address, "/healthz"))[0] == 200
    with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
        await fetch(server.address, "/healthz")
    await OperationsServer(server.address, "1.2.3").stop()
    async with serving(server.address) as again:
        assert (await fetch(again.address, "/healthz"))[0] == 200


async def test_an_open_connection_does_not_hold_up_the_stop():
    """The idle keep-alive connection of a probe is closed."""
    async with serving() as server:
        reader, writer = await asyncio.open_connection(server.address.host, server.address.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: ops\r\n\r\n")
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    await reader.read()
    writer.close()
    await writer.wait_closed()


async def test_the_web_server_logs_nothing_in_ordinary_use(address, caplog):
    """The sidecar logs the address itself, so the web server's lines would repeat it."""
    with caplog.at_level(logging.INFO):
        async with serving(address) as server:
            await fetch(server.address, "/healthz")
            await fetch(server.address, "/nowhere")
    assert [record for record in caplog.records if record.name != "asyncio"] == []


async def test_the_page_of_metrics_depends_on_the_accept_header(address):
    """Without a page, /metrics is 404 and says which setting is off."""
    async with serving(address) as server:
        status, body = await fetch(server.address, "/metrics")
        assert (status, body) == (404, "telemetry.metrics is off\n")
        server.publish(lambda accept: (f"accepts {accept!r}\n".encode(), "text/plain"))
        assert await fetch(server.address, "/metrics") == (200, "accepts ''\n")


@contextlib.contextmanager
def idle_clients(address: Address, count: int) -> Iterator[list[socket.socket]]:
    """Connections that send nothing."""
    with contextlib.ExitStack() as stack:
        where = address.host, address.port
        yield [stack.enter_context(socket.create_connection(where)) for _ in range(count)]


def is_closed(client: socket.socket) -> bool:
    """Return whether the server has closed a connection on which it had sent nothing."""
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


async def test_a_new_probe_is_served_beside_many_idle_connections():
    """The connection that has been idle for the longest time is closed for it."""
    async with serving() as server:
        with idle_clients(server.address, MAX_CONNECTIONS) as clients:
            assert (await fetch(server.address, "/healthz"))[0] == 200
            await eventually(lambda: is_closed(clients[0]))
            assert not any(map(is_closed, clients[1:]))
            for _ in range(2 * MAX_CONNECTIONS):
                assert (await fetch(server.address, "/healthz"))[0] == 200


async def test_a_connection_that_makes_requests_is_kept():
    """A keep-alive connection is closed later than one that has sent nothing."""
    async with serving() as server:
        reader, writer = await asyncio.open_connection(server.address.host, server.address.port)
        with idle_clients(server.address, MAX_CONNECTIONS - 1):
            connections = server._server.server_state.connections
            await eventually(lambda: len(connections) == MAX_CONNECTIONS)
            for _ in range(2):
                writer.write(b"GET /healthz HTTP/1.1\r\nHost: ops\r\n\r\n")
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
                await reader.readuntil(b"}")
                for _ in range(MAX_CONNECTIONS // 2):
                    assert (await fetch(server.address, "/healthz"))[0] == 200
        writer.close()
        await writer.wait_closed()


async def test_idle_connections_are_bounded():
    """Clients that send nothing hold no more file descriptors than the bound."""
    async with serving() as server:
        with idle_clients(server.address, MAX_CONNECTIONS + 50):
            for _ in range(3):
                assert (await fetch(server.address, "/readyz"))[0] == 503
            assert len(server._server.server_state.connections) <= MAX_CONNECTIONS


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HT", b"GET /metrics HTTP/1.1\r\nHost: o"])
async def test_a_request_has_its_time(monkeypatch, sent):
    """A client that sends nothing, or a part of a request, is disconnected."""
    monkeypatch.setattr(http_connections, "EXCHANGE_SECONDS", 0.05)
    async with serving() as server:
        with idle_clients(server.address, 1) as (client,):
            client.sendall(sent)
            await eventually(lambda: is_closed(client))


async def test_a_response_has_its_time(monkeypatch):
    """A client that does not read its response is disconnected."""
    monkeypatch.setattr(http_connections, "EXCHANGE_SECONDS", 1.0)
    page = b"x" * 20_000_000, "text/plain"
    async with serving() as server:
        server.publish(lambda _accept: page)
        state = server._server.server_state
        with idle_clients(server.address, 1) as (client,):
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: ops\r\n\r\n")
            await eventually(lambda: state.connections)
            await eventually(lambda: not state.connections)
            assert state.total_requests == 1


async def test_the_page_of_metrics_is_rendered_once_a_second():
    """Scrapes within a second get the same page; the forms that clients can ask for are bounded."""
    now, rendered = 100.0, []

    def render(accept: str) -> tuple[bytes, str]:
        rendered.append(accept)
        return f"page {len(rendered)}".encode(), "text/plain"

    server = OperationsServer(LOOPBACK, "1.2.3", monotonic=lambda: now)
    server.publish(render)
    await server.start()
    for _ in range(5):
        assert await fetch(server.address, "/metrics") == (200, "page 1")
    now = 101.0
    assert await fetch(server.address, "/metrics") == (200, "page 2")
    for number in range(20):
        await fetch(server.address, "/metrics", accept=f"text/plain;q=0.{number}")
    assert len(rendered) == 2 + MAX_FORMS
    await server.stop()


async def test_a_reason_that_is_no_utf8() -> None:
    """Readiness is answered, whatever a reason quotes."""
    async with serving() as server:
        server.report(lambda: (False, {"store": {"reason": "it said \udcff\x00é"}}))
        status, body = await fetch(server.address, "/readyz")
    assert status == 503
    assert json.loads(body)["components"]["store"]["reason"] == "it said \udcff\x00é"
