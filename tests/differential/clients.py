"""Clients that send anything: HTTP/1.1 and HTTP/2 without a library's opinion of what is good."""

import asyncio
import contextlib
from urllib.parse import unquote

import hpack

from tests.differential.grammar import Sent

SECONDS = 20.0
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1

Answer = dict[str, str]  # headers, `:status` among them; empty if there was none


class ClosedError(Exception):
    """The other side ended the connection."""


class Http1:
    """One HTTP/1.1 connection, made anew when it was closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, sent: Sent) -> Answer:
        """Send one request and wait for the answer's headers and body."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        lines = [sent.method.encode() + b" " + sent.path + b" HTTP/1.1", b"host: " + sent.host]
        lines += [name.encode() + b": " + value for name, value in sent.headers]
        try:
            async with asyncio.timeout(SECONDS):
                writer.write(b"\r\n".join(lines) + b"\r\n\r\n")
                found = await self._read(reader)
                is_head = sent.method == "HEAD" or found[":status"] in {"204", "304"}
                length = 0 if is_head else int(found.get("content-length", "0"))
                if "chunked" in found.get("transfer-encoding", "") and not is_head:
                    await reader.readuntil(b"0\r\n\r\n")
                await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError, ValueError):
            self.close()
            return {}
        if found.get("connection") == "close" or sent.method == "CONNECT":
            self.close()
        return found

    async def _read(self, reader: asyncio.StreamReader) -> Answer:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in head[1:] if line)
        return {":status": head[0].split(" ")[1]} | {
            name.lower(): value.strip() for name, _, value in pairs
        }

    def close(self) -> None:
        """End the connection."""
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None


class Http2:
    """One HTTP/2 connection with one request at a time, made anew when it was closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, sent: Sent) -> Answer:
        """Send one request and wait for the end of the answer."""
        try:
            async with asyncio.timeout(SECONDS):
                if self._streams is None:
                    await self._connect()
                return await self._send(sent)
        except (OSError, asyncio.IncompleteReadError, ClosedError):
            self.close()
            return {}

    async def _connect(self) -> None:
        self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        self._encoder, self._decoder, self._next = hpack.Encoder(), hpack.Decoder(), 1
        settings = bytes.fromhex("000100000000" + "00047fffffff")  # no table; a large window
        window = (1 << 30).to_bytes(4)
        self._streams[1].write(
            PREFACE + _frame(SETTINGS, 0, 0, settings) + _frame(WINDOW_UPDATE, 0, 0, window)
        )

    async def _send(self, sent: Sent) -> Answer:
        assert self._streams is not None
        reader, writer = self._streams
        stream, self._next = self._next, self._next + 2
        fields: list[tuple[bytes, bytes]] = [
            (b":method", sent.method.encode()),
            (b":scheme", b"http"),
            (b":authority", sent.host),
            (b":path", sent.path),
            *((name.encode(), value) for name, value in sent.headers),
        ]
        if sent.method == "CONNECT":
            fields = [each for each in fields if each[0] not in {b":scheme", b":path"}]
        block = self._encoder.encode(fields)
        writer.write(_frame(HEADERS, END_HEADERS | END_STREAM, stream, block))
        found: Answer = {}
        while True:
            head = await reader.readexactly(9)
            kind, flags, on = head[3], head[4], int.from_bytes(head[5:])
            body = await reader.readexactly(int.from_bytes(head[:3]))
            if kind == GOAWAY:
                raise ClosedError
            if kind == SETTINGS and not flags & ACK:
                writer.write(_frame(SETTINGS, ACK, 0, b""))
            elif kind == PING and not flags & ACK:
                writer.write(_frame(PING, ACK, 0, body))
            elif kind == HEADERS:
                read = self._decoder.decode(body, raw=True)
                found |= {name.decode(): value.decode("latin-1") for name, value in read}
            if on == stream and (
                kind == RST_STREAM or (flags & END_STREAM and kind in {DATA, HEADERS})
            ):
                return found

    def close(self) -> None:
        """End the connection."""
        if self._streams is not None:
            with contextlib.suppress(RuntimeError):
                self._streams[1].close()
        self._streams = None


def handler_of(answer: Answer) -> tuple[str, str]:
    """The handler that ran, or empty, and the text of its variable."""
    return answer.get("x-handler", ""), unquote(answer.get("x-value", ""))


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + body
