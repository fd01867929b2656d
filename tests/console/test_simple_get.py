"""Simple GETs are read as h11 reads them, and their ready responses are those of the web server."""

import asyncio

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.console.operations import OperationsServer
from authz.console.simple_get import MAX_BYTES, SimpleGet, simple_get
from authz.core.listen_address import Address

HOST = b"Host: ops\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "found"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: ops\r\n\r\n", SimpleGet("/metrics", "", False)),
        (
            b"GET /a?b HTTP/1.1\r\nhost:\r\nACCEPT: \t a/b;q=0, */* \r\nconnection: Close\r\n\r\n",
            SimpleGet("/a?b", "a/b;q=0, */*", True),
        ),
        (b"GET / HTTP/1.1\r\nHost: o\r\nConnection: keep-alive\r\n\r\n", SimpleGet("/", "", False)),
    ],
)
def test_a_simple_get(request_bytes: bytes, found: SimpleGet):
    """The path, the Accept header, and whether the connection ends."""
    assert simple_get(request_bytes) == found


@pytest.mark.parametrize(
    "other",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: o\r\n",
        b"GET / HTTP/1.1\r\nHost: o\r\n\r\nGET / HTTP/1.1\r\nHost: o\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: o\r\n\r\n",
        b"get / HTTP/1.1\r\nHost: o\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: o\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: o\r\nHost: o\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: o\r\nContent-Length: 0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: o\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: o\r\nExpect: 100-continue\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: o\r\nConnection: upgrade\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: o\r\nAccept: a\r\nAccept: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: o\r\nAccept : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: o\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: o\nAccept: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: o\r\nAccept: \xc3\xa9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: o\r\nAccept: \0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: o\r\nX: " + b"x" * MAX_BYTES + b"\r\n\r\n",
    ],
)
def test_everything_else_is_left_to_the_web_server(other: bytes):
    """Also two requests at once, half a one, and one with a body."""
    assert simple_get(other) is None


PIECES = st.sampled_from(
    (
        *(b"GET ", b"/metrics", b" HTTP/1.1", b"\r\n", b"\n", HOST, b"Accept: a\r\n", b"accept:"),
        *(b"Connection: close\r\n", b"connection: keep-alive\r\n", b"\t", b" ", b"\0", b"\xff"),
        *(b"X-A: 1\r\n", b"Content-Length: 1\r\n", b"/", b":", b"b", b"\r\n\r\n"),
        b"GET / HTTP/1.1\r\nHost: ops\r\n",
    )
)


@given(st.lists(PIECES, max_size=8).map(b"".join), st.booleans())
def test_h11_reads_each_simple_get_in_the_same_way(rest: bytes, begun: bool):
    """Each text that is taken for a simple GET is exactly that request for h11."""
    text = (b"GET /metrics HTTP/1.1\r\n" + HOST if begun else b"") + rest
    found = simple_get(text)
    if found is None:
        return
    server = h11.Connection(h11.SERVER)
    server.receive_data(text)
    event = server.next_event()
    assert isinstance(event, h11.Request)
    assert (event.method, event.target.decode()) == (b"GET", found.path)
    assert dict(event.headers).get(b"accept", b"").decode() == found.accept
    assert isinstance(server.next_event(), h11.EndOfMessage)
    assert (server.their_state is h11.MUST_CLOSE) == found.close
    assert server.trailing_data == (b"", False)


async def answers(requests: list[bytes], port: int) -> list[tuple[list[str], bytes]]:
    """Send each request in one piece on one connection; return status and headers, and the body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = []
    for request in requests:
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()[:-1]
        (size,) = (int(line.split()[1]) for line in head if line.startswith("content-length"))
        found.append((head, await reader.readexactly(size)))
    writer.close()
    await writer.wait_closed()
    return found


async def test_a_ready_response_is_that_of_the_web_server():
    """On one connection, in turn with requests that only the web server reads."""
    server = OperationsServer(Address("127.0.0.1", 0), "1.2.3")
    server.publish(lambda accept: (f"for {accept}\n".encode(), "text/plain; version=1"))
    await server.start()
    try:
        for path in ("/healthz", "/metrics"):
            simple = b"GET %b HTTP/1.1\r\nHost: o\r\nAccept: a/b\r\n\r\n" % path.encode()
            unusual = simple.replace(b"Accept", b"X: 1\r\nX: 2\r\nAccept")
            requests = [unusual, simple, unusual, simple, simple]
            found = await answers(requests, server.address.port)
            plain = [
                (sorted(line for line in head if not line.startswith("date:")), body)
                for head, body in found
            ]
            assert plain == [plain[0]] * len(requests)
            assert all(any(line.startswith("date: ") for line in head) for head, _ in found)
    finally:
        await server.stop()


async def test_a_client_that_reads_nothing_gets_no_further_ready_response():
    """Requests one by one fill no memory: the web server waits until a response is read."""
    server = OperationsServer(Address("127.0.0.1", 0), "1.2.3", monotonic=lambda: 0.0)
    server.publish(lambda _accept: (b"x" * 4_000_000, "text/plain"))
    await server.start()
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", server.address.port, limit=1)
        for _ in range(50):
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: o\r\n\r\n")
            await asyncio.sleep(0.01)
        (connection,) = server._server.server_state.connections
        waiting = connection.transport.get_write_buffer_size()
        assert 0 < waiting < 12_000_000
        writer.transport.abort()
    finally:
        await server.stop()
