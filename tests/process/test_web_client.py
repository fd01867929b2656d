"""Requests to other servers: bounds on time, and the addresses that are allowed."""

import asyncio
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
import trustme

from authz.core.errors import BadInput, Unavailable
from authz.core.web_address import check_url
from authz.process.web_client import WebClient


@pytest.mark.parametrize(
    "url", ["https://idp.example.com", "http://127.0.0.1:8080/a", "http://[::1]"]
)
def test_https_and_loopback_are_allowed(url: str):
    """Plain http is for loopback."""
    assert check_url("url", url) == url


@pytest.mark.parametrize(
    "url",
    [
        "http://idp.example.com",
        "http://127.0.0.1.example.com",
        "http://169.254.169.254/latest",
        "ftp://127.0.0.1",
        "file:///etc/passwd",
        "https://user:secret@idp.example.com",
        "https://idp.example.com/#x",
        "https://",
        "https://idp.example.com:99999",
        "https://idp.exämple.com",
        "https://idp.example.com/\r\nHost: internal",
        "https://idp.exa\tmple.com",
        "https://idp example.com",
        "https://idp.example.com/a b",
        "http://2130706433/",
        "http://127.1/",
        "http://0/",
        "",
    ],
)
def test_other_addresses_are_refused(url: str):
    """No other scheme, no plain http beyond loopback, no password in a URL."""
    with pytest.raises(BadInput):
        check_url("url", url)


async def test_a_server_that_does_not_answer_is_given_up():
    """A server that accepts and stays silent costs the time bound and no more."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(Unavailable, match=r"no response within 0\.1 s|timed out"):
            await WebClient(seconds=0.1).send("GET", f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize("permits", [None, lambda _: True])
async def test_a_request_that_was_given_up_is_not_sent(monkeypatch, permits):
    """If the name is resolved too late, no connection follows, and the thread ends."""
    resolve, resolved = socket.getaddrinfo, threading.Event()

    def slow(*given: Any, **named: Any) -> Any:
        resolved.wait(10)
        return resolve(*given, **named)

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        port = server.getsockname()[1]
        monkeypatch.setattr(socket, "getaddrinfo", slow)
        client = WebClient(seconds=0.1, permits=permits)
        with pytest.raises(Unavailable, match="no response within"):
            await client.send("POST", f"http://127.0.0.1:{port}/")
        resolved.set()
        client.threads.shutdown()
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize("given", [{}, {"user-agent": "shipper"}, {"USER-AGENT": "shipper"}])
async def test_a_request_names_its_sender_once(given):
    """A given User-Agent in any case replaces ours, which has no version."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        answered = asyncio.create_task(asyncio.to_thread(_answer, server))
        await WebClient().send("GET", url, headers=given)
        lines = (await answered).lower().split("\r\n")
    expected = "user-agent: shipper" if given else "user-agent: authz"
    assert [line for line in lines if line.startswith("user-agent")] == [expected]


def _answer(server: socket.socket) -> str:
    connection, _ = server.accept()
    with connection:
        found = b""
        while b"\r\n\r\n" not in found:
            found += connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
    return found.decode()


async def test_names_that_resolve_slowly_block_no_other_work(monkeypatch):
    """Such requests have threads of their own, so name lookups of the store have free ones."""
    released = threading.Event()

    def slow(*_given: Any, **_named: Any) -> Any:
        released.wait(60)
        raise socket.gaierror("slow.example")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    client = WebClient(seconds=0.1)
    try:
        sent = [client.send("GET", "https://slow.example/") for _ in range(50)]
        assert {type(one) for one in await asyncio.gather(*sent, return_exceptions=True)} == {
            Unavailable
        }
        assert await asyncio.wait_for(asyncio.to_thread(lambda: 1), 20) == 1
    finally:
        released.set()


async def test_a_certificate_of_a_stranger_is_refused(tmp_path: Path):
    """TLS needs a certificate of the configured authority."""
    stranger, ours = trustme.CA(), tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(ours))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    stranger.issue_cert("127.0.0.1").configure_cert(context)
    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await WebClient(ours).send("GET", f"https://127.0.0.1:{port}/")
