"""Real clients over real sockets: Envoy, curl and h2load.

Clients of grpcio are those of the tests of both transports.
"""

import asyncio
import shutil
import ssl
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import trustme
from hpack import Decoder
from hyperframe.frame import DataFrame, GoAwayFrame

from authz.core.events import Event
from authz.core.listen_address import Address
from authz.process.listener import ConnectionLimits, TlsFiles
from authz.rpc.h2 import tls_listener
from authz.rpc.h2.server import FastServer
from authz.rpc.services import CHECK_SERVICE
from tests.support.h2.proxy import proxy
from tests.support.h2.resets import reset_flood, statuses
from tests.support.h2.wire import wired
from tests.support.real import eventually
from tests.support.rpc.door import Door
from tests.support.rpc.messages import check_request

CURL, H2LOAD = shutil.which("curl"), shutil.which("h2load")


@dataclass
class Certificates:
    """An authority, a server's certificate and a client's, as files and in memory."""

    ca: trustme.CA
    server: TlsFiles
    client_cert: str
    client_key: str


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> Certificates:
    """Certificates for 127.0.0.1, signed by an authority that also signs clients."""
    directory, ca = tmp_path_factory.mktemp("tls"), trustme.CA()
    paths = {name: directory / f"{name}.pem" for name in ("ca", "cert", "key", "client", "own")}
    server, client = ca.issue_cert("127.0.0.1"), ca.issue_cert("proxy.example")
    ca.cert_pem.write_to_path(paths["ca"])
    server.private_key_pem.write_to_path(paths["key"])
    server.cert_chain_pems[0].write_to_path(paths["cert"])
    client.private_key_pem.write_to_path(paths["own"])
    client.cert_chain_pems[0].write_to_path(paths["client"])
    files = TlsFiles(paths["cert"], paths["key"], paths["ca"])
    return Certificates(ca, files, str(paths["client"]), str(paths["own"]))


@pytest.fixture
async def stack():
    """A stack that is closed at the end."""
    async with AsyncExitStack() as found:
        yield found


async def started(stack, address=Address("127.0.0.1", 0), **settings):  # noqa: B008  it is frozen
    """Start the fast transport with one key in the cache."""
    door = Door()
    _, key = door.issue()
    await door.answer(check_request([("x-api-key", key)]))
    server = FastServer(door, address, probe=door.probe, **settings)
    await server.start()
    stack.push_async_callback(server.stop, 0)
    return server, door, key


async def get(url: str, key: str = "") -> int:
    """Return the status of a request."""

    def ask() -> int:
        try:
            with urlopen(
                Request(url, headers={"x-api-key": key} if key else {}), timeout=60
            ) as got:
                return got.status
        except HTTPError as refused:
            with refused:
                return refused.code

    return await asyncio.to_thread(ask)


@pytest.mark.parametrize("trusted", [True, False])
async def test_a_client_of_the_proxy_cannot_end_its_shared_connection(stack, trusted):
    """A rapid reset through Envoy slows the shared connection; unless trusted, it is closed."""
    limits = ConnectionLimits(flood_tolerance=0.1)
    server, door, key = await started(stack, limits=limits)
    server._state.limits = replace(limits, trusted=trusted)
    port = int(stack.enter_context(proxy(server.address)).rpartition(":")[2])
    async with reset_flood(port, 3000, key) as flood:
        found = []
        while flood.sent < 1200:
            found += await statuses(port, key, seconds=0.1, pause=0.005)
    assert door.probe.events[Event.H2_RESET_FLOOD] > 0
    assert (door.probe.events[Event.H2_CONNECTION_ERROR] > 0) is not trusted
    assert not trusted or set(found) == {200}


@pytest.mark.parametrize("over", ["tcp", "unix", "tls"])
async def test_a_proxy_is_answered(stack, certificates, over, tmp_path):
    """Envoy asks over h2c, over a Unix socket, and over TLS with certificates on both sides."""
    address, tls, settings = Address("127.0.0.1", 0), None, {}
    if over == "unix":
        address = Address("", 0, str(tmp_path / "check.sock"))
    if over == "tls":
        settings = {"tls": certificates.server}
        chain = {"filename": certificates.client_cert}, {"filename": certificates.client_key}
        tls = {
            "alpn_protocols": ["h2"],
            "tls_certificates": [{"certificate_chain": chain[0], "private_key": chain[1]}],
            "validation_context": {
                "trusted_ca": {"filename": str(certificates.server.client_ca)},
                "match_typed_subject_alt_names": [
                    {"san_type": "IP_ADDRESS", "matcher": {"exact": "127.0.0.1"}}
                ],
            },
        }
    server, door, key = await started(stack, address, **settings)
    url = await asyncio.to_thread(stack.enter_context, proxy(server.address, tls=tls))
    statuses = [await get(url, key) for _ in range(5)]
    assert (statuses, await get(url), await get(url, key + "x")) == ([200] * 5, 401, 401)
    assert not [event for event in door.probe.events if event.name.startswith("H2_")]


async def test_a_proxy_that_traces_costs_no_decoding(stack, monkeypatch):
    """The traceparent differs in each call, and from the fourth call on hpack is not needed."""
    decoded, decode = [], Decoder.decode
    monkeypatch.setattr(
        Decoder, "decode", lambda *args, **how: decoded.append(args[1]) or decode(*args, **how)
    )
    server, _, key = await started(stack)
    url = await asyncio.to_thread(stack.enter_context, proxy(server.address, tracer=True))
    assert {await get(url, key) for _ in range(20)} == {200}
    assert len(decoded) == 3
    assert len(set(decoded)) == 3


async def silent(address: Address) -> asyncio.StreamWriter:
    """Open a connection and send nothing."""
    _, writer = await asyncio.open_connection(address.host, address.port)
    return writer


async def test_connections_count_before_they_shake_hands(stack, certificates, monkeypatch):
    """Silent connections take no more file descriptors than the bound allows."""
    monkeypatch.setattr(tls_listener, "HANDSHAKE_SECONDS", 60.0)
    files = TlsFiles(certificates.server.cert, certificates.server.key)
    server, door, _ = await started(stack, tls=files)
    service, events = server._state, door.probe.events
    service.max_connections = 3
    many = [await silent(server.address) for _ in range(10)]
    await eventually(lambda: events[Event.H2_CONNECTION_REFUSED] == 7)
    assert service.handshakes == 3
    for writer in many:
        writer.close()
    await eventually(lambda: service.handshakes == 0)
    assert events[Event.H2_HANDSHAKE_FAILED] == 3
    context = ssl.create_default_context()
    certificates.ca.configure_trust(context)
    context.set_alpn_protocols(["h2"])
    async with wired(server.address, context) as wire:
        wire.greet()
        wire.send(DataFrame(99, b"an error"))
        assert isinstance((await wire.rest())[-1], GoAwayFrame)
    assert service.handshakes == 0


async def test_a_handshake_has_its_time(stack, certificates, monkeypatch):
    """A client that does not finish its TLS handshake is disconnected and counted."""
    monkeypatch.setattr(tls_listener, "HANDSHAKE_SECONDS", 0.05)
    files = TlsFiles(certificates.server.cert, certificates.server.key)
    server, door, _ = await started(stack, tls=files)
    writer = await silent(server.address)
    await eventually(lambda: door.probe.events[Event.H2_HANDSHAKE_FAILED] == 1)
    assert server._state.handshakes == 0
    writer.close()


async def test_stopping_ends_handshakes(stack, certificates, monkeypatch):
    """A stop does not wait for TLS handshakes."""
    monkeypatch.setattr(tls_listener, "HANDSHAKE_SECONDS", 60.0)
    files = TlsFiles(certificates.server.cert, certificates.server.key)
    server, _, _ = await started(stack, tls=files)
    writer = await silent(server.address)
    await eventually(lambda: server._state.handshakes == 1)
    async with asyncio.timeout(30):
        await server.stop(50)
    assert server._state.handshakes == 0
    writer.close()


async def test_a_client_that_does_not_agree_on_h2_is_closed(stack, certificates):
    """TLS without ALPN h2 is refused; with it the client is served."""
    files = TlsFiles(certificates.server.cert, certificates.server.key)
    server, door, _ = await started(stack, tls=files)
    context = ssl.create_default_context()
    certificates.ca.configure_trust(context)
    async with wired(server.address, context) as wire:
        with pytest.raises((EOFError, ConnectionError)):
            await wire.frame()
    assert door.probe.events[Event.H2_HANDSHAKE_FAILED] == 1
    context.set_alpn_protocols(["h2"])
    async with wired(server.address, context) as wire:
        assert wire.tls.selected_alpn_protocol() == "h2"
        wire.greet()
        wire.send(DataFrame(99, b"an error"))
        assert isinstance((await wire.rest())[-1], GoAwayFrame)


async def run(*command: str) -> tuple[int, str]:
    """Return the exit status of a program, and its output."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    printed, _ = await process.communicate()
    return process.returncode, printed.decode()


@pytest.mark.skipif(CURL is None, reason="needs Debian's package curl")
async def test_curl_gets_a_clean_answer(stack):
    """Each request gets a status and a text that helps, and curl exits with 0."""
    server, _, _ = await started(stack)
    for options in ([], ["--data", "x=1"], ["--head"], ["--upload-file", __file__]):
        status, printed = await run(
            *(CURL, "--silent", "--show-error", "--http2-prior-knowledge", "--max-time", "60"),
            *("--write-out", "%{http_version} %{http_code}", *options),
            f"http://{server.address}/",
        )
        assert (status, printed[-5:]) == (0, "2 415"), printed
        assert ("This port answers gRPC" in printed) == ("--head" not in options)


@pytest.mark.skipif(H2LOAD is None, reason="needs h2load: Debian's package nghttp2-client")
async def test_h2load_sees_no_error(stack, tmp_path):
    """Many concurrent calls on several connections all succeed."""
    server, _, key = await started(stack)
    body: Path = tmp_path / "request"
    message = check_request([("x-api-key", key)]).SerializeToString()
    body.write_bytes(b"\0" + len(message).to_bytes(4) + message)
    status, printed = await run(
        *(H2LOAD, "-n", "4000", "-c", "4", "-m", "50", "-d", str(body)),
        *("-H", "content-type: application/grpc", "-H", "te: trailers"),
        f"http://{server.address}/{CHECK_SERVICE}/Check",
    )
    assert status == 0
    assert "4000 succeeded, 0 failed, 0 errored, 0 timeout" in printed
    assert "4000 2xx" in printed
