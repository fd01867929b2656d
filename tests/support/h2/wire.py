"""A client on a real socket that sends whatever frames a test wants."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hpack import Encoder
from hyperframe.frame import DataFrame, Frame, HeadersFrame, PingFrame, SettingsFrame

from authz.core.listen_address import Address
from authz.rpc.h2.frames import PREFACE
from tests.support.h2.client import GRPC, Fields, framed

SECONDS = 30.0  # nothing takes that long


class Wire:
    """One connection. Its encoder uses no header table."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._encoder = Encoder()
        self._encoder.header_table_size = 0

    def send(self, *parts: bytes | Frame) -> None:
        """Send in one piece, without waiting."""
        self._writer.write(
            b"".join(part if isinstance(part, bytes) else part.serialize() for part in parts)
        )

    def greet(self) -> None:
        """Send the preface, settings, and the acknowledgement of the server's settings."""
        self.send(PREFACE, SettingsFrame(0), SettingsFrame(0, flags=["ACK"]))

    def call(self, stream_id: int, message: bytes = b"hello", fields: Fields = GRPC) -> bytes:
        """Return a whole call."""
        head = HeadersFrame(stream_id, self._encoder.encode(list(fields)), flags=["END_HEADERS"])
        body = DataFrame(stream_id, framed(message), flags=["END_STREAM"])
        return head.serialize() + body.serialize()

    def get(self, stream_id: int, fields: Fields) -> None:
        """Send a request without a body."""
        flags = ["END_HEADERS", "END_STREAM"]
        self.send(HeadersFrame(stream_id, self._encoder.encode(list(fields)), flags=flags))

    async def settled(self) -> None:
        """Wait until the server has read everything that was sent. Raises EOFError."""
        self.send(PingFrame(0, b"\0" * 8))
        while "ACK" not in (await self.until(PingFrame)).flags:
            pass

    async def frame(self) -> Frame:
        """Return the next frame. Raises EOFError."""
        async with asyncio.timeout(SECONDS):
            head = await self._reader.readexactly(9)
            frame, size = Frame.parse_frame_header(memoryview(head))
            frame.parse_body(memoryview(await self._reader.readexactly(size)))
            return frame

    async def until(self, kind: type[Frame], stream_id: int = 0) -> Frame:
        """Return the next frame of a type, and skip others. Raises EOFError."""
        while True:
            frame = await self.frame()
            if isinstance(frame, kind) and frame.stream_id == stream_id:
                return frame

    async def rest(self) -> list[Frame]:
        """Return all frames until the server closes."""
        found = []
        try:
            while True:
                found.append(await self.frame())
        except EOFError:
            return found

    def half_close(self) -> None:
        """End our side of the connection."""
        self._writer.write_eof()

    def cut(self) -> None:
        """Abort the connection."""
        self._writer.transport.abort()

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The TLS object with the negotiated parameters."""
        return self._writer.get_extra_info("ssl_object")


@asynccontextmanager
async def wired(address: Address, tls: ssl.SSLContext | None = None) -> AsyncIterator[Wire]:
    """Open a connection and close it at the end."""
    if address.path:
        reader, writer = await asyncio.open_unix_connection(address.path)
    else:
        reader, writer = await asyncio.open_connection(address.host, address.port, ssl=tls)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()
