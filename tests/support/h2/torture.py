"""Turns any bytes into what a client might do to a Connection, and checks that it holds.

The first byte of a step says what is done, the bytes behind it with what: frames of any kind, whole
calls, raw bytes, time that passes, late answers. So a small change of the input is a small change
of what happens, which is what a fuzzer lives on.
"""

from collections.abc import Callable
from typing import Final

from hpack import Decoder

from authz.process.listener import ConnectionLimits
from authz.rpc.h2.connection import Connection
from authz.rpc.h2.frames import (
    END_HEADERS,
    END_STREAM,
    FRAME_HEADER,
    MAX_FRAME_BYTES,
    PREFACE,
    UINT32,
    FrameType,
    frame,
    settings_frame,
)
from authz.rpc.h2.request_bodies import BodyMemory
from authz.rpc.h2.responses import FAILED, status_response
from authz.rpc.h2.stream_states import Call, CallEvent, StreamState
from tests.support.fakes import RecordingProbe

LIMITS: Final = ConnectionLimits(
    streams=8, header_bytes=1000, message_bytes=4000, idle_seconds=100.0
)
MEMORY: Final = 10_000
PATH: Final = b"/a.B/C"
# Header blocks: a call, one with a deadline, a trace, nonsense, a GET, one that uses the table.
CALL: Final = b"\x83\x86\x04\x06" + PATH + b"\x0f\x10\x10application/grpc"
BLOCKS: Final = (
    CALL,
    b"\x20" + CALL,
    CALL + b"\x00\x0cgrpc-timeout\x0250m",
    CALL + b"\x00\x0btraceparent\x03abc",
    CALL + b"\x00\x0btraceparent\x03abd",
    CALL + b"\x40\x01x\x01y",
    CALL + b"\xbe",
    CALL + b"\x00\x01X\x01y",
    CALL + b"\x0f\x0d\x0210",
    CALL + b"\x00\x01x\x7f\xf0\x07" + b"a" * 1135,
    b"\x82\x86\x84",
    b"\x88",
    b"",
)
LATE: Final = b"\xff"  # a message that begins so is answered later


class Torture:
    """One connection with checks of all that must be true of it."""

    def __init__(self, script: bytes) -> None:
        self._script = script
        self._at = 0
        self.now = 0.0
        self.memory = BodyMemory(MEMORY)
        handlers = {PATH: lambda message: message}
        self.connection = Connection(handlers, LIMITS, self.memory, RecordingProbe(), self.now)
        self._decoder = Decoder()
        self._pending: list[tuple[Call, bytes]] = []
        self._started: list[Call] = []
        self._ended: set[int] = set()
        self._received = self._sent = 0
        self._over = False
        self._next_id = 1
        self.steps: tuple[Callable[[], None], ...] = (
            *(self.a_frame, self.a_frame, self.a_call, self.a_block),
            *(self.raw, self.wait, self.answer, self.drain),
        )

    def run(self) -> None:
        """Do what the script says. Raises AssertionError if a check fails."""
        self._take()
        if self._byte() % 8:
            self._feed(PREFACE + settings_frame({}) + frame(FrameType.SETTINGS, 1, 0))
        while self._at < len(self._script):
            self.steps[self._byte() % len(self.steps)]()
        self.connection.streams.cancel_all()
        assert not self.connection.streams.calls
        assert self.memory._free == MEMORY

    def a_frame(self) -> None:
        """Send a frame of any type on any stream, its contents from the script."""
        kind, flags, stream_id = self._byte() % 12, self._byte(), self._byte() % 24
        size = self._byte()
        if size > 250:
            size = (size - 250) * 3300  # also more than a frame may have
        self._feed(frame(kind, flags, stream_id, self._bytes(size).ljust(size, b"\0")))

    def a_call(self) -> None:
        """Send a whole call on the next stream."""
        message = self._bytes(self._byte() % 64)
        body = b"\0" + UINT32.pack(len(message)) + message
        head = frame(FrameType.HEADERS, END_HEADERS, self._next_id, CALL)
        self._feed(head + frame(FrameType.DATA, END_STREAM, self._next_id, body))
        self._next_id += 2

    def a_block(self) -> None:
        """Send one of the header blocks, on the next stream or an old one, whole or in two."""
        block, how = BLOCKS[self._byte() % len(BLOCKS)], self._byte()
        stream_id = self._byte() % 24 if how & 0x40 else self._next_id
        self._next_id = max(self._next_id, stream_id | 1) + 2
        end = how & END_STREAM
        if how & 0x80:
            cut = how % (len(block) + 1)
            self._feed(frame(FrameType.HEADERS, end, stream_id, block[:cut]))
            self._feed(frame(FrameType.CONTINUATION, END_HEADERS, stream_id, block[cut:]))
        else:
            self._feed(frame(FrameType.HEADERS, END_HEADERS | end, stream_id, block))

    def raw(self) -> None:
        """Send bytes of the script."""
        self._feed(self._bytes(self._byte()))

    def wait(self) -> None:
        """Let time pass, up to a few minutes."""
        self.now += (self._byte() / 16) ** 2
        self._react(self.connection.expire(self.now))
        assert self.connection.ended or self.connection.due > self.now  # or a shell would spin

    def answer(self) -> None:
        """Answer the oldest waiting call, which may have ended."""
        if self._pending:
            call, message = self._pending.pop(0)
            if self._byte() % 4:
                self.connection.responses.respond(call, message * (self._byte() + 1))
            else:
                self.connection.responses.refuse(call, status_response(FAILED))
            self._take()

    def drain(self) -> None:
        """Begin a graceful end."""
        if self._byte() % 4 == 0:
            self.connection.drain(self.now)
            self._take()

    def _byte(self) -> int:
        self._at += 1
        return self._script[self._at - 1] if self._at <= len(self._script) else 0

    def _bytes(self, size: int) -> bytes:
        self._at += size
        return self._script[self._at - size : self._at]

    def _feed(self, data: bytes) -> None:
        self._received += len(data)
        self._react(self.connection.receive(data, self.now))
        while self.connection.has_input:
            self._react(self.connection.receive(b"", self.now))

    def _react(self, events: list[CallEvent]) -> None:
        for call, message in events:
            if message is None:
                assert call.state is StreamState.CLOSED
                assert call in self._started
                continue
            assert call.state is StreamState.ANSWERING
            self._started.append(call)
            if message.startswith(LATE):
                self._pending.append((call, message))
            else:
                self.connection.responses.respond(call, message)
        self._take()

    def _take(self) -> None:
        fault, data = self.connection.fault, self.connection.queue.take()
        assert not (self._over and data)  # the GOAWAY was the last word
        self._sent += len(data)
        assert self._sent <= 20_000 + 300 * self._received
        kind, payload = 0, b""
        while data:
            kind, payload = self._check(data)
            data = data[9 + len(payload) :]
        if fault is not None and not self._over:
            assert kind == FrameType.GOAWAY
            assert UINT32.unpack_from(payload, 4)[0] == fault.code
            self._over = True
        self._check_bounds()

    def _check(self, data: bytes) -> tuple[int, bytes]:
        """Check one frame that we send. Return its type and payload."""
        high, low, kind, flags, stream_id = FRAME_HEADER.unpack_from(data)
        size = high << 8 | low
        payload = data[9 : 9 + size]
        assert len(payload) == size
        peer_allows = self.connection.queue._max_frame
        assert size <= max(MAX_FRAME_BYTES, peer_allows)
        if kind == FrameType.HEADERS:
            self._decoder.decode(payload, raw=True)
        if kind in (FrameType.HEADERS, FrameType.DATA):
            assert stream_id & 1
            assert stream_id not in self._ended
            if flags & END_STREAM:
                self._ended.add(stream_id)
        return kind, payload

    def _check_bounds(self) -> None:
        """Check the memory that is held for the client."""
        calls = self.connection.streams.calls
        assert len(calls) <= LIMITS.streams
        held = sum(len(call.body) for call in calls.values() if call.body)
        assert self.memory._free == MEMORY - held
        assert len(self.connection._reader._rest) <= MAX_FRAME_BYTES + 9
        assert sum(map(len, self.connection._frames._block.parts)) <= LIMITS.header_bytes
        assert self.connection.fault is None or not calls


def torture(script: bytes) -> None:
    """Run a script. Raises AssertionError if a check fails."""
    Torture(script).run()
