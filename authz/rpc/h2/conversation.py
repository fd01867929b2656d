"""What the client's frames do: which are taken in which phase, as a table, and one method for each.

What a method raises ends the stream or the connection; whoever calls sees to that.
"""

from collections.abc import Callable, Mapping
from typing import Final

from authz.core.events import Event
from authz.rpc.h2.frames import (
    ACK,
    END_HEADERS,
    MAX_STREAM_ID,
    MAX_WINDOW,
    PADDED,
    PRIORITISED,
    SETTING,
    UINT32,
    Code,
    ConnectionFault,
    Kind,
    Setting,
    StreamFault,
    frame,
    goaway_frame,
    unpadded,
)
from authz.rpc.h2.limits import FloodBudgets
from authz.rpc.h2.outbox import Outbox
from authz.rpc.h2.requests import Requests

DRAIN_PING: Final = b"draining"
DISCARDED: Final = 16  # times the limit a header block may be, unread

CALLS_A_FRAME: Final = 16  # as much work to look at as a frame is

PRIORITY_BYTES: Final = 5
PING_BYTES: Final = 8
GOAWAY_BYTES: Final = 8
LEAST_MAX_FRAME: Final = 2**14
MOST_MAX_FRAME: Final = 2**24 - 1

SETTINGS_ACK: Final = frame(Kind.SETTINGS, ACK, 0)


class Conversation:
    """Takes frames in the order in which they come."""

    def __init__(
        self, requests: Requests, outbox: Outbox, patience: FloodBudgets, max_header_bytes: int
    ) -> None:
        self._requests = requests
        self._outbox = outbox
        self._spend = patience.spend
        self._max_header_bytes = max_header_bytes
        self._phase = GREETING
        self._block = _Block(0, 0)
        self.draining = False

    @property
    def greeted(self) -> bool:
        """Has the client sent its first SETTINGS?"""
        return self._phase is not GREETING

    def take(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Take a frame. Raises ConnectionFault and StreamFault."""
        handler = self._phase.get(kind)
        if handler is not None:
            handler(self, flags, stream_id, payload)
        elif self._phase is OPEN:  # a kind that means nothing to us
            self._spend(Event.H2_CONTROL_FLOOD)
        else:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "not the frame that has to come now")

    def drain(self) -> None:
        """Announce the end. New calls are taken until the client has heard of it."""
        self.draining = True
        self._outbox.control(goaway_frame(MAX_STREAM_ID, Code.NO_ERROR))
        self._outbox.control(frame(Kind.PING, 0, 0, DRAIN_PING))

    def refuse_new(self) -> None:
        """The client has heard of the end, or had the time to."""
        if self._requests.last_id is None:
            self._requests.last_id = self._requests.streams.highest
            self._outbox.control(goaway_frame(self._requests.last_id, Code.NO_ERROR))

    def headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        """A request, or its trailers."""
        if flags & (PADDED | PRIORITISED):
            payload = _block_of(flags, stream_id, payload)
        if flags & END_HEADERS:
            self._requests.headers(flags, stream_id, payload)
        else:
            self._phase = BLOCK
            self._block = _Block(flags, stream_id)
            self._extend_block(payload)

    def continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        """More of a header block."""
        block = self._block
        if stream_id != block.stream_id:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "CONTINUATION of another stream")
        self._spend(Event.H2_CONTROL_FLOOD if payload else Event.H2_EMPTY_FLOOD)
        self._extend_block(payload)
        if flags & END_HEADERS:
            self._phase = OPEN
            whole = b"".join(block.parts) if block.size <= self._max_header_bytes else None
            self._requests.headers(block.flags, stream_id, whole)

    def _extend_block(self, payload: bytes) -> None:
        block, limit = self._block, self._max_header_bytes
        block.size += len(payload)
        if block.size <= limit:
            block.parts.append(payload)
            return
        # Too long: dropped unread, unless other blocks depend on it or it does not end.
        block.parts.clear()
        if not self._requests.blocks.independent or block.size > limit * DISCARDED:
            self._requests.count(Event.H2_HEADER_FLOOD)
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "a header block over the limit")

    def data(self, flags: int, stream_id: int, payload: bytes) -> None:
        """A part of a request."""
        self._requests.data(flags, stream_id, payload)

    def priority(self, _flags: int, stream_id: int, payload: bytes) -> None:
        """Ignored, but that a stream cannot depend on itself."""
        self._spend(Event.H2_CONTROL_FLOOD)
        if stream_id == 0:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "PRIORITY of no stream")
        if len(payload) != PRIORITY_BYTES:
            raise StreamFault(stream_id, Code.FRAME_SIZE_ERROR)
        _refuse_self_dependency(stream_id, payload)

    def rst_stream(self, _flags: int, stream_id: int, payload: bytes) -> None:
        """The client gives a call up."""
        _require(len(payload) == UINT32.size, "RST_STREAM")
        self._requests.rst_stream(stream_id)

    def settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        """What the client wants, or that it has heard what we want."""
        if stream_id:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "SETTINGS of a stream")
        self._spend(Event.H2_CONTROL_FLOOD, 1 + len(payload) // SETTING.size)
        if flags & ACK:
            _require(not payload, "SETTINGS ACK")
            self._requests.blocks.acknowledged = True
            return
        _require(len(payload) % SETTING.size == 0, "SETTINGS")
        for name, value in SETTING.iter_unpack(payload):
            self._set(name, value)
        self._outbox.control(SETTINGS_ACK)
        self._requests.send_waiting()

    def first_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        """The beginning."""
        if flags & ACK:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "an ACK before the first SETTINGS")
        self.settings(flags, stream_id, payload)
        self._phase = OPEN

    def _set(self, name: int, value: int) -> None:
        if name == Setting.ENABLE_PUSH and value > 1:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "ENABLE_PUSH is 0 or 1")
        if name == Setting.INITIAL_WINDOW_SIZE:
            if value > MAX_WINDOW:
                raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE is too large")
            calls = self._requests.streams.calls.values()
            self._spend(Event.H2_CONTROL_FLOOD, len(calls) // CALLS_A_FRAME)  # it looks at them all
            self._outbox.set_initial_window(value, calls)
        if name == Setting.MAX_FRAME_SIZE:
            if not LEAST_MAX_FRAME <= value <= MOST_MAX_FRAME:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "MAX_FRAME_SIZE is out of range")
            self._outbox.set_max_frame(value)

    def stray_continuation(self, _flags: int, _stream_id: int, _payload: bytes) -> None:
        """Outside of a header block."""
        raise ConnectionFault(Code.PROTOCOL_ERROR, "CONTINUATION of nothing")

    def push_promise(self, _flags: int, _stream_id: int, _payload: bytes) -> None:
        """Not a client's to send."""
        raise ConnectionFault(Code.PROTOCOL_ERROR, "PUSH_PROMISE from a client")

    def ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        """Answered, or an answer."""
        if stream_id:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "PING of a stream")
        _require(len(payload) == PING_BYTES, "PING")
        self._spend(Event.H2_CONTROL_FLOOD)
        if not flags & ACK:
            self._outbox.control(frame(Kind.PING, ACK, 0, payload))
        elif self.draining and payload == DRAIN_PING:
            self.refuse_new()

    def goaway(self, _flags: int, stream_id: int, payload: bytes) -> None:
        """The client takes no more streams of ours, and there are none."""
        self._spend(Event.H2_CONTROL_FLOOD)
        if stream_id:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "GOAWAY of a stream")
        _require(len(payload) >= GOAWAY_BYTES, "GOAWAY")

    def window_update(self, _flags: int, stream_id: int, payload: bytes) -> None:
        """The client takes more."""
        _require(len(payload) == UINT32.size, "WINDOW_UPDATE")
        self._spend(Event.H2_CONTROL_FLOOD)
        increment = UINT32.unpack(payload)[0] & MAX_WINDOW
        if stream_id:
            self._requests.window_update(stream_id, increment)
        elif increment:
            self._outbox.widen(increment)
        else:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "a WINDOW_UPDATE by nothing")
        self._requests.send_waiting()


class _Block:
    """A header block that comes in several frames."""

    __slots__ = ("flags", "parts", "size", "stream_id")

    def __init__(self, flags: int, stream_id: int) -> None:
        self.flags = flags  # of its HEADERS
        self.stream_id = stream_id
        self.parts: list[bytes] = []
        self.size = 0


def _block_of(flags: int, stream_id: int, payload: bytes) -> bytes:
    """The header block in a HEADERS frame that is padded or carries a priority."""
    payload = unpadded(flags, payload)
    if not flags & PRIORITISED:
        return payload
    _require(len(payload) >= PRIORITY_BYTES, "HEADERS")
    _refuse_self_dependency(stream_id, payload)
    return payload[PRIORITY_BYTES:]


def _refuse_self_dependency(stream_id: int, priority: bytes) -> None:
    if UINT32.unpack_from(priority)[0] & MAX_STREAM_ID == stream_id:
        raise ConnectionFault(Code.PROTOCOL_ERROR, "a stream that depends on itself")


def _require(right_size: bool, what: str) -> None:
    if not right_size:
        raise ConnectionFault(Code.FRAME_SIZE_ERROR, f"{what} of a wrong size")


Handler = Callable[[Conversation, int, int, bytes], None]
Phase = Mapping[int, Handler]

GREETING: Final[Phase] = {Kind.SETTINGS: Conversation.first_settings}
OPEN: Final[Phase] = {
    Kind.HEADERS: Conversation.headers,
    Kind.DATA: Conversation.data,
    Kind.PRIORITY: Conversation.priority,
    Kind.RST_STREAM: Conversation.rst_stream,
    Kind.SETTINGS: Conversation.settings,
    Kind.PUSH_PROMISE: Conversation.push_promise,
    Kind.PING: Conversation.ping,
    Kind.GOAWAY: Conversation.goaway,
    Kind.WINDOW_UPDATE: Conversation.window_update,
    Kind.CONTINUATION: Conversation.stray_continuation,
}
BLOCK: Final[Phase] = {Kind.CONTINUATION: Conversation.continuation}
