"""A load tool for HTTP/2: the same requests again and again over a few connections.

Made for measuring servers that answer in microseconds: header blocks are encoded beforehand, and of
what comes back only the ends of streams are looked at.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from hpack.table import HeaderTable

from authz.core.listen_address import Address
from authz.rpc.h2.frames import (
    ACK,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    FRAME_HEADER,
    FRAME_HEADER_BYTES,
    PREFACE,
    UINT32,
    FrameType,
    SettingId,
    frame,
    settings_frame,
    window_update_frame,
)
from tests.support.h2.encodings import integer, string

WINDOW = 2**30
TO_ZERO = b"\x20"
TRACES = 5000  # different trace headers; far more than a server remembers

Fields = Sequence[tuple[str, str]]


class Requests:
    """The requests to send: `fields`, `body`, and another traceparent in each."""

    def __init__(self, fields: Fields, body: bytes = b"", *, traced: bool = False) -> None:
        block = b"".join(encoded(name.encode(), value.encode()) for name, value in fields)
        self.first = TO_ZERO + block
        self.body = body
        self.blocks = [block + trace for trace in traces()] if traced else [block]

    def encoded(self, ids: Iterator[int]) -> Iterator[bytes]:
        """The frames of one request after the other."""
        body, size = self.body, len(self.body)
        flags = END_HEADERS if body else END_HEADERS | END_STREAM
        yield self._frames(self.first, flags, next(ids))
        pack = FRAME_HEADER.pack
        for block, stream_id in zip(itertools.cycle(self.blocks), ids, strict=False):
            made = (
                pack(0, len(block), FrameType.HEADERS, flags, stream_id) + block
            )  # below 256 bytes
            if body:
                made += pack(size >> 8, size & 255, FrameType.DATA, END_STREAM, stream_id) + body
            yield made

    def _frames(self, block: bytes, flags: int, stream_id: int) -> bytes:
        made = frame(FrameType.HEADERS, flags, stream_id, block)
        return made + frame(FrameType.DATA, END_STREAM, stream_id, self.body) if self.body else made


def encoded(name: bytes, value: bytes) -> bytes:
    """A field as a proxy without a header table writes it."""
    if (name, value) in HeaderTable.STATIC_TABLE:
        return integer(HeaderTable.STATIC_TABLE.index((name, value)) + 1, 7, 0x80)
    index, _ = HeaderTable.STATIC_TABLE_MAPPING.get(name, (0, None))
    head = integer(index, 4, 0)
    return head + (b"" if index else string(name, huffman=True)) + string(value, huffman=True)


def traces() -> list[bytes]:
    """Trace headers, each another."""
    made = random.Random(1)  # the same in every run
    return [
        encoded(
            b"traceparent", b"00-%032x-%016x-01" % (made.getrandbits(128), made.getrandbits(64))
        )
        for _ in range(TRACES)
    ]


@dataclass
class Tally:
    """The results of the requests."""

    answered: int = 0
    failed: int = 0
    latencies: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)  # how much later than due they were sent
    served: list[float] = field(default_factory=list)  # of `polling.pace`: without our own delays

    def quantile(self, share: float) -> float:
        """Seconds within which so many were answered."""
        return quantile(self.latencies, share)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class Connection(asyncio.Protocol):
    """Sends, keeps the server's windows, and tells when streams end."""

    def __init__(self, requests: Requests, on_end: Callable[["Connection", int], None]) -> None:
        self._made = requests.encoded(itertools.count(1, 2))
        self._size = len(requests.body)
        self._on_end = on_end
        self._rest = b""
        self._window, self._due, self._read = DEFAULT_WINDOW, 0, 0
        self.ready = False  # has the server said what it takes?
        self.failed = ""
        self.without_body = 0  # answers: a gRPC status, or an HTTP error of the proxy's

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Implement asyncio.Protocol.connection_made."""
        self.transport = transport
        offered = settings_frame(
            {SettingId.HEADER_TABLE_SIZE: 4096, SettingId.INITIAL_WINDOW_SIZE: WINDOW}
        )
        transport.write(PREFACE + offered + window_update_frame(0, WINDOW))

    @property
    def is_held(self) -> bool:
        """Whether requests wait for the server's window."""
        return self._due > 0

    def send(self, count: int = 1) -> None:
        """Ask so many times, as soon as the server's window allows."""
        self._due += count
        self._send_due()

    def _send_due(self) -> None:
        count = self._due
        if self._size:
            count = min(count, self._window // self._size)
        if count > 0 and self.ready:
            self._due -= count
            self._window -= count * self._size
            self.transport.write(b"".join(itertools.islice(self._made, count)))

    def data_received(self, data: bytes) -> None:
        """Implement asyncio.Protocol.data_received."""
        buffer = self._rest + data
        at, size, ended, bodies = 0, len(buffer), 0, 0
        while size - at >= FRAME_HEADER_BYTES:
            high, low, kind, flags, stream_id = FRAME_HEADER.unpack_from(buffer, at)
            end = at + FRAME_HEADER_BYTES + (high << 8 | low)
            if end > size:
                break
            if kind <= FrameType.HEADERS:
                bodies += kind == FrameType.DATA
                if flags & END_STREAM:
                    ended += 1
                    self._on_end(self, stream_id)
            else:
                self._control(kind, flags, stream_id, buffer[at + FRAME_HEADER_BYTES : end])
            at = end
        self._rest = buffer[at:]
        self.without_body += ended - bodies
        self._read += len(data)
        if self._read > WINDOW // 2:
            self.transport.write(window_update_frame(0, self._read))
            self._read = 0
        if ended or self._due:
            self._send_due()

    def _control(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind == FrameType.SETTINGS and not flags & ACK:
            self.transport.write(frame(FrameType.SETTINGS, ACK, 0))
            self.ready = True
        elif kind == FrameType.WINDOW_UPDATE and stream_id == 0:
            self._window += UINT32.unpack(payload)[0]
        elif kind == FrameType.PING and not flags & ACK:
            self.transport.write(frame(FrameType.PING, ACK, 0, payload))
        elif kind in (FrameType.RST_STREAM, FrameType.GOAWAY):
            self.failed = f"{FrameType(kind).name} {payload!r}"

    def connection_lost(self, cause: Exception | None) -> None:
        """Implement asyncio.Protocol.connection_lost."""
        self.failed = self.failed or f"connection lost {cause or ''}"


async def connect(
    address: Address, requests: Requests, count: int, on_end: Callable[[Connection, int], None]
) -> list[Connection]:
    """So many connections, settings exchanged."""
    loop = asyncio.get_running_loop()
    found = []
    for _ in range(count):
        made = await (
            loop.create_unix_connection(lambda: Connection(requests, on_end), address.path)
            if address.path
            else loop.create_connection(
                lambda: Connection(requests, on_end), address.host, address.port
            )
        )
        found.append(made[1])
    while not all(connection.ready or connection.failed for connection in found):
        await asyncio.sleep(0)
    return found


def close(connections: list[Connection]) -> None:
    """Raises when one has failed."""
    failed = [connection.failed for connection in connections if connection.failed]
    for connection in connections:
        connection.transport.abort()
        if abs(connection.without_body) > 100:  # some may be on their way
            failed.append(f"{connection.without_body} more ends than bodies")
    if failed:
        raise AssertionError(f"{len(failed)} of {len(connections)} connections failed: {failed[0]}")


async def saturate(
    address: Address, requests: Requests, *, connections: int, at_a_time: int, seconds: float
) -> Tally:
    """As many as the server can answer, `at_a_time` on each connection. Warms up for a fifth."""
    tally, began = Tally(), time.perf_counter() + seconds / 5

    def on_end(connection: Connection, _stream_id: int) -> None:
        tally.answered += time.perf_counter() >= began
        connection.send()

    opened = await connect(address, requests, connections, on_end)
    for connection in opened:
        connection.send(at_a_time)
    await asyncio.sleep(seconds * 1.2)
    close(opened)
    return tally


async def repeat(
    address: Address, requests: Requests, *, connections: int, at_a_time: int, calls: int
) -> None:
    """So many calls, `at_a_time` on each connection. Return when the last one is answered."""
    answered, done = 0, asyncio.get_running_loop().create_future()

    def on_end(connection: Connection, _stream_id: int) -> None:
        nonlocal answered
        answered += 1
        if answered == calls:
            done.set_result(None)
        connection.send()

    opened = await connect(address, requests, connections, on_end)
    for connection in opened:
        connection.send(at_a_time)
    async with asyncio.timeout(60):
        await done
    close(opened)


async def pace(
    address: Address, requests: Requests, *, connections: int, rate: float, seconds: float
) -> Tally:
    """So many a second, at random times, whether the server keeps up or not.

    Beside other load in one loop; alone, `polling.pace` tells smaller times.
    """
    tally, sent = Tally(), {}

    def on_end(connection: Connection, stream_id: int) -> None:
        tally.answered += 1
        tally.latencies.append(time.perf_counter() - sent.pop((connection, stream_id)))

    opened = await connect(address, requests, connections, on_end)
    turns = itertools.cycle(opened)
    ids = dict.fromkeys(opened, 1)
    made = random.Random(1)
    due = time.perf_counter()
    end = due + seconds
    while due < end:
        now = time.perf_counter()
        while due <= now:
            connection = next(turns)
            sent[connection, ids[connection]] = due  # when it should have gone
            ids[connection] += 2
            connection.send()
            due += made.expovariate(rate)
        await asyncio.sleep(0)
    deadline = time.perf_counter() + 10
    while sent and time.perf_counter() < deadline:
        await asyncio.sleep(0.001)
    tally.failed = len(sent)
    close(opened)
    return tally


async def crowd(
    address: Address, requests: Requests, *, connections: int, at_a_time: int, rounds: int
) -> Tally:
    """Many connections, each with so many calls at a time, so many times."""
    tally, wanted = Tally(), connections * at_a_time

    def on_end(_connection: Connection, _stream_id: int) -> None:
        tally.answered += 1

    opened = await connect(address, requests, connections, on_end)
    for number in range(rounds):
        for connection in opened:
            connection.send(at_a_time)
        while tally.answered < wanted * (number + 1) and not any(c.failed for c in opened):
            await asyncio.sleep(0.01)
    tally.failed = wanted * rounds - tally.answered
    close(opened)
    return tally
