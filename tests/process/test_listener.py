"""Listeners: ports, Unix sockets, pings, and silence on stderr."""

import asyncio
import contextlib
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from authz.core.errors import BadInput
from authz.core.listen_address import Address
from authz.process.listener import refuse_plaintext
from tests.support.listener import full_backlog
from tests.support.rpc.door import Door
from tests.support.rpc.messages import check_request
from tests.support.rpc.servers import TRANSPORTS, ask, make_server, serving

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=TRANSPORTS)
def transport(request) -> str:
    """Each transport."""
    return request.param


@pytest.fixture
def door() -> Door:
    """A handler over an empty store."""
    return Door()


@pytest.fixture
def path(tmp_path) -> Address:
    """The address of a Unix socket."""
    return Address("", 0, str(tmp_path / "check.sock"))


async def is_answered(address: Address) -> bool:
    """Return whether a server answers Checks at an address."""
    return (await ask(address, check_request())).denied_response.status.code == 401


@pytest.mark.parametrize(
    ("listen", "is_open_to_others"),
    [
        ("127.0.0.1:9191", False),
        ("127.0.0.2:9191", False),
        ("[::1]:9191", False),
        ("localhost:9191", False),
        ("0.0.0.0:9191", True),
        ("[::]:9191", True),
        ("10.0.0.1:9191", True),
        ("[fe80::1]:9191", True),
        ("authz.example.com:9191", True),
        ("127.0.0.1.example.com:9191", True),
    ],
)
def test_keys_are_taken_in_the_clear_from_this_machine_alone(listen, is_open_to_others):
    """An address that others can reach needs TLS, or the setting that allows plaintext."""
    address = Address.parse("check.listen", listen)
    if is_open_to_others:
        with pytest.raises(BadInput, match=r"^check\.listen: .*in the clear.*allow_plaintext"):
            refuse_plaintext(address, encrypted=False, allowed=False)
    else:
        refuse_plaintext(address, encrypted=False, allowed=False)
    refuse_plaintext(address, encrypted=True, allowed=False)
    refuse_plaintext(address, encrypted=False, allowed=True)


async def test_a_server_asks_for_encryption_before_it_listens(transport, door):
    """A plaintext port is not open to others for a moment."""
    with pytest.raises(BadInput, match="in the clear"):
        make_server(transport, door, Address("0.0.0.0", 0))


async def test_a_port_that_is_taken_is_refused(transport, door):
    """The port of this kind of server or of any other is refused, and the first continues."""
    async with serving(transport, door) as first:
        with pytest.raises(BadInput, match=r"^check\.listen: 127.0.0.1:\d+: Address already in"):
            make_server(transport, door, first.address)
        assert await is_answered(first.address)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = Address(*other.getsockname())
        with pytest.raises(BadInput, match="Address already in use"):
            make_server(transport, door, taken)


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        (Address("192.0.2.1", 9191), "Cannot assign requested address"),
        (Address("ü" * 70, 9191), "not a host name"),
        (Address("", 0, "/no/such/directory/s"), "; make the directory /no/such/directory$"),
        (Address("", 0, f"/tmp/{'x' * 103}"), "at most 107 bytes"),
    ],
)
async def test_an_address_that_cannot_be_used_is_explained(transport, door, address, problem):
    """The error is one line with the reason of the operating system."""
    with pytest.raises(BadInput, match=problem):
        make_server(transport, door, address, allow_plaintext=True)


async def test_one_socket_path_has_one_server(transport, door, path):
    """A second server is refused. The path is free once the first has stopped."""
    async with serving(transport, door, path):
        with pytest.raises(BadInput, match="served by a live process"):
            make_server(transport, door, path)
        assert await is_answered(path)
    assert not Path(path.path).exists()
    async with serving(transport, door, path):
        assert await is_answered(path)


async def test_a_server_that_never_started_gives_its_path_back(transport, door, path):
    """A server is stopped unstarted if another part of the sidecar fails at start."""
    await make_server(transport, door, path).stop(0)
    async with serving(transport, door, path):
        assert await is_answered(path)


@contextlib.contextmanager
def another_process(transport: str, path: Address) -> Iterator[subprocess.Popen]:
    """Run another process that serves a path until its stdin ends. It is killed at the end."""
    script = """
import asyncio, sys
from authz.core.listen_address import Address
from tests.support.listener import full_backlog
from tests.support.rpc.door import Door
from tests.support.rpc.servers import serving

async def main():
    async with serving(sys.argv[1], Door(), Address("", 0, sys.argv[2])):
        print("serving", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""
    with subprocess.Popen(
        [sys.executable, "-c", script, transport, path.path],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout.readline() == b"serving\n"
            yield process
        finally:
            process.kill()


async def test_a_path_is_kept_against_other_processes_and_survives_a_kill(transport, door, path):
    """A live process keeps its path. The socket of a killed one is replaced."""
    with another_process(transport, path) as other:
        with pytest.raises(BadInput, match="served by a live process"):
            make_server(transport, door, path)
        assert await is_answered(path)
        other.kill()
        other.wait()
        assert Path(path.path).is_socket()
        async with serving(transport, door, path):
            assert await is_answered(path)


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
async def test_a_socket_has_the_mode_that_is_set(transport, door, path, mode):
    """The mode does not depend on the umask: the proxy runs as another user."""
    before = os.umask(0o077)
    try:
        async with serving(transport, door, path, socket_mode=mode):
            assert stat.S_IMODE(os.stat(path.path).st_mode) == mode
            assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)


async def test_a_file_in_the_place_of_a_socket_is_left_alone(transport, door, path):
    """A mistyped path destroys no file."""
    Path(path.path).write_text("precious")
    with pytest.raises(BadInput, match="is not a socket"):
        make_server(transport, door, path)
    assert Path(path.path).read_text() == "precious"


async def test_the_socket_of_another_program_is_left_alone(transport, door, path):
    """A program that holds no lock keeps its path, also while its backlog is full."""
    with full_backlog(path.path):
        with pytest.raises(BadInput, match="served by a live process"):
            make_server(transport, door, path)
        assert Path(path.path).is_socket()


PING, GOAWAY = 6, 7


async def test_frequent_pings_are_answered(transport, door):
    """A proxy's keepalive on an idle connection never ends in GOAWAY."""
    async with serving(transport, door) as server:
        reader, writer = await asyncio.open_connection(server.address.host, server.address.port)
        settings = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings)
        for _ in range(20):
            writer.write(bytes([0, 0, 8, PING, 0, 0, 0, 0, 0, *range(8)]))
            assert await _next_frame(reader, PING, GOAWAY) == PING
        writer.close()
        await writer.wait_closed()


async def _next_frame(reader: asyncio.StreamReader, *awaited: int) -> int:
    """Return the type of the next frame of an awaited type, and skip others."""
    while True:
        head = await reader.readexactly(9)
        await reader.readexactly(int.from_bytes(head[:3]))
        if head[3] in awaited:
            return head[3]


def test_nothing_is_written_to_stderr(transport):
    """gRPC's own log is silent in ordinary use and if a port is taken."""
    script = """
import asyncio, sys
from authz.core.errors import BadInput
import authz.rpc  # before grpc, as in the sidecar
import grpc.aio
from tests.support.listener import full_backlog
from tests.support.rpc.door import Door
from tests.support.rpc.messages import check_request
from tests.support.rpc.servers import ask, make_server, serving

async def main():
    door, transport = Door(), sys.argv[1]
    async with serving(transport, door) as server:
        try:
            make_server(transport, door, server.address)
        except BadInput:
            print("taken")
        await ask(server.address, check_request())
        await server.stop(0)
        try:
            await ask(server.address, check_request())
        except grpc.aio.AioRpcError:
            print("gone")

asyncio.run(main())
"""
    environ = {name: text for name, text in os.environ.items() if not name.startswith("GRPC_")}
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", script, transport],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("taken\ngone\n", "")
