"""A backend and clients that show header and trailer fields as they cross an Envoy."""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue

from hpack import Decoder, Encoder
from hyperframe.frame import DataFrame, Frame, HeadersFrame, PingFrame, SettingsFrame

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PATIENCE = 20.0  # seconds
Fields = list[tuple[str, str]]


@contextmanager
def http2_backend() -> Iterator[tuple[int, "SimpleQueue[Fields]"]]:
    """Yield the port of an HTTP/2 server, and a queue of the header blocks that it receives.

    It answers 200 as soon as a request has ended. Trailers are a block of their own.
    """
    blocks: SimpleQueue[Fields] = SimpleQueue()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_accept, args=(listening, blocks), daemon=True).start()
        yield listening.getsockname()[1], blocks


def _accept(listening: socket.socket, blocks: "SimpleQueue[Fields]") -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(connection, blocks), daemon=True).start()


def _serve(connection: socket.socket, blocks: "SimpleQueue[Fields]") -> None:
    stream, decoder = connection.makefile("rb"), Decoder()
    stream.read(len(PREFACE))
    connection.sendall(SettingsFrame(0).serialize())
    while frame := read_frame(stream):
        if isinstance(frame, HeadersFrame):
            blocks.put([(name, value) for name, value in decoder.decode(frame.data)])
        if isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
            connection.sendall(SettingsFrame(0, flags=["ACK"]).serialize())
        if isinstance(frame, PingFrame) and "ACK" not in frame.flags:
            connection.sendall(PingFrame(0, frame.opaque_data, flags=["ACK"]).serialize())
        if isinstance(frame, HeadersFrame | DataFrame) and "END_STREAM" in frame.flags:
            answer = Encoder().encode([(":status", "200")])
            flags = ["END_HEADERS", "END_STREAM"]
            connection.sendall(HeadersFrame(frame.stream_id, answer, flags=flags).serialize())


def read_frame(stream) -> Frame | None:
    """Return the next frame, or None at the end of the connection."""
    head = stream.read(9)
    if len(head) < 9:
        return None
    frame, size = Frame.parse_frame_header(memoryview(head))
    frame.parse_body(memoryview(stream.read(size)))
    return frame


def post_with_trailers(port: int, headers: Fields, trailers: Fields) -> str:
    """Send an HTTP/2 request with trailers and return the status of the response."""
    pseudo = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")]
    encoder = Encoder()
    frames = [
        SettingsFrame(0),
        HeadersFrame(1, encoder.encode([*pseudo, *headers]), flags=["END_HEADERS"]),
        DataFrame(1, b"x"),
        HeadersFrame(1, encoder.encode(trailers), flags=["END_HEADERS", "END_STREAM"]),
    ]
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        connection.sendall(PREFACE + b"".join(frame.serialize() for frame in frames))
        stream, decoder = connection.makefile("rb"), Decoder()
        while frame := read_frame(stream):
            if isinstance(frame, HeadersFrame):
                return dict(decoder.decode(frame.data))[":status"]
    raise AssertionError("the connection ended without a response")


@contextmanager
def upgrading_backend() -> Iterator[tuple[int, "SimpleQueue[bytes]"]]:
    """Yield the port of a server that accepts every upgrade, and a queue of request heads."""
    heads: SimpleQueue[bytes] = SimpleQueue()

    def serve(listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            stream, head = connection.makefile("rb"), b""
            while (line := stream.readline()) not in (b"\r\n", b""):
                head += line
            if head:
                heads.put(head)
            connection.sendall(SWITCHING)
            kept.append(connection)

    kept: list[socket.socket] = []  # a connection ends when its last reference does
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        yield listening.getsockname()[1], heads
    for connection in kept:
        connection.close()


SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"


def raw_request(port: int, lines: Sequence[str]) -> socket.socket:
    """Send the lines of a request and return the connection."""
    connection = socket.create_connection(("127.0.0.1", port), PATIENCE)
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    return connection
