"""The effect of each frame of the client, and the frames that may come in each phase.

A handler raises ConnectionFault or StreamFault; the connection ends the stream or itself.
"""

from collections.abc import Callable, Mapping
from typing import Final

from authz.core.events import Event
from authz.core.ports import Probe
from authz.rpc.h2.flood_budgets import FloodBudgets
from authz.rpc.h2.frames import (
    ACK,
    END_HEADERS,
    MAX_STREAM_ID,
    MAX_WINDOW,
    PADDED,
    PRIORITISED,
    PRIORITY_BYTES,
    SETTING,
    UINT32,
    ConnectionFault,
    ErrorCode,
    FrameType,
    SettingId,
    StreamFault,
    frame,
    goaway_frame,
    header_block,
    refuse_self_dependency,
    require_size,
)
from authz.rpc.h2.header_blocks import PartialBlock
from authz.rpc.h2.request_streams import RequestStreams
from authz.rpc.h2.send_queue import SendQueue

DRAIN_PING: Final = b"draining"
MAX_DISCARDED: Final = 16  # times the limit: the size of a header block that we skip unread

CALLS_PER_UNIT: Final = 16  # to look at so many calls costs as much as a frame

PING_BYTES: Final = 8
GOAWAY_BYTES: Final = 8
MIN_MAX_FRAME: Final = 2**14
MAX_MAX_FRAME: Final = 2**24 - 1

SETTINGS_ACK: Final = frame(FrameType.SETTINGS, ACK, 0)


class FrameHandlers:
    """Applies the frames of one connection in their order.

    A method named after a frame applies one such frame. If a flood budget is used up, each can
    raise ConnectionFault with ENHANCE_YOUR_CALM. draining: True once `drain` was called. phase: the
    handlers of the frames that may come now.
    """

    def __init__(
        self,
        streams: RequestStreams,
        queue: SendQueue,
        budgets: FloodBudgets,
        probe: Probe,
        max_header_bytes: int,
    ) -> None:
        self._streams = streams
        self._queue = queue
        self._budgets = budgets
        self._probe = probe
        self._max_header_bytes = max_header_bytes
        self.phase = GREETING
        self._block = PartialBlock(0, 0)
        self.draining = False

    @property
    def greeted(self) -> bool:
        """True if the client's first SETTINGS have been applied."""
        return self.phase is not GREETING

    def apply(self, frame_type: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Apply a frame. In the open phase an unknown type only costs a unit of the control budget.

        Raises ConnectionFault if the phase of the connection does not allow the frame. Raises
        ConnectionFault or StreamFault as the frame's handler does.
        """
        if frame_type == DATA and self.phase is OPEN:
            self._streams.data(flags, stream_id, payload)
            return
        handler = self.phase.get(frame_type)
        if handler is not None:
            handler(self, flags, stream_id, payload)
        elif self.phase is OPEN:  # an unknown type, which section 4.1 says to ignore
            self._budgets.spend(Event.H2_CONTROL_FLOOD)
        else:
            problem = "not the frame that has to come now"
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, problem)

    def drain(self) -> None:
        """Queue a GOAWAY that names no stream, and a PING.

        New calls are taken until `refuse_new`.
        """
        self.draining = True
        self._queue.control(goaway_frame(MAX_STREAM_ID, ErrorCode.NO_ERROR))
        self._queue.control(frame(FrameType.PING, 0, 0, DRAIN_PING))

    def refuse_new(self) -> None:
        """Queue a GOAWAY with the last stream id. Streams after it are ignored.

        No-op the second time.
        """
        if self._streams.last_id is None:
            self._streams.last_id = self._streams.states.highest
            self._queue.control(goaway_frame(self._streams.last_id, ErrorCode.NO_ERROR))

    def headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        """HEADERS: open a call, or end its request with trailers.

        Without END_HEADERS the block is kept until CONTINUATION completes it. Raises
        ConnectionFault for wrong padding or priority, and the faults of RequestStreams.headers.
        """
        if flags & (PADDED | PRIORITISED):
            payload = header_block(flags, stream_id, payload)
        if flags & END_HEADERS:
            self._streams.headers(flags, stream_id, payload)
        else:
            self.phase = HEADER_BLOCK
            self._block = PartialBlock(flags, stream_id)
            self._extend_block(payload)

    def continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        """CONTINUATION: add to the header block.

        With END_HEADERS, apply the block as `headers` does. A block over the limit is not decoded,
        and its call is refused. Raises ConnectionFault for another stream, and for a block over the
        limit if the dynamic table is in use or the size is over 16 limits.
        """
        block = self._block
        if stream_id != block.stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of another stream")
        self._budgets.spend(Event.H2_CONTROL_FLOOD if payload else Event.H2_EMPTY_FLOOD)
        self._extend_block(payload)
        if flags & END_HEADERS:
            self.phase = OPEN
            whole = b"".join(block.parts) if block.size <= self._max_header_bytes else None
            self._streams.headers(block.flags, stream_id, whole)

    def _extend_block(self, payload: bytes) -> None:
        block, limit = self._block, self._max_header_bytes
        block.size += len(payload)
        if block.size <= limit:
            block.parts.append(payload)
            return
        # Too long: skipped unread, unless other blocks depend on it or it does not end.
        block.parts.clear()
        if not self._streams.blocks.independent or block.size > limit * MAX_DISCARDED:
            self._probe.count(Event.H2_HEADER_FLOOD)
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a header block over the limit")

    def priority(self, _flags: int, stream_id: int, payload: bytes) -> None:
        """PRIORITY: changes nothing, and costs a unit of the control budget.

        Raises ConnectionFault for stream 0 and for a stream that depends on itself, StreamFault if
        the payload has not 5 bytes.
        """
        self._budgets.spend(Event.H2_CONTROL_FLOOD)
        if stream_id == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PRIORITY of no stream")
        if len(payload) != PRIORITY_BYTES:
            raise StreamFault(stream_id, ErrorCode.FRAME_SIZE_ERROR)
        refuse_self_dependency(stream_id, payload)

    def rst_stream(self, _flags: int, stream_id: int, payload: bytes) -> None:
        """RST_STREAM: cancel the call.

        Raises ConnectionFault if the payload has not 4 bytes or the stream was never opened.
        """
        require_size(len(payload) == UINT32.size, "RST_STREAM")
        self._streams.rst_stream(stream_id)

    def settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        """SETTINGS: apply them, queue an ACK, and send responses that waited for a window.

        With ACK, only note that the client knows our settings. Costs a unit of the control budget,
        and one for each setting. Raises ConnectionFault for a stream id, a wrong size or a value
        out of range.
        """
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS of a stream")
        self._budgets.spend(Event.H2_CONTROL_FLOOD, 1 + len(payload) // SETTING.size)
        if flags & ACK:
            require_size(not payload, "SETTINGS ACK")
            self._streams.blocks.acknowledged = True
            return
        require_size(len(payload) % SETTING.size == 0, "SETTINGS")
        for name, value in SETTING.iter_unpack(payload):
            self._set(name, value)
        self._queue.control(SETTINGS_ACK)
        self._streams.responses.send_waiting()

    def first_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        """SETTINGS that begin the connection: apply them as `settings` does.

        Then all frames may come. Raises ConnectionFault for an ACK, and as `settings` does.
        """
        if flags & ACK:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "an ACK before the first SETTINGS")
        self.settings(flags, stream_id, payload)
        self.phase = OPEN

    def _set(self, name: int, value: int) -> None:
        if name == SettingId.ENABLE_PUSH and value > 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "ENABLE_PUSH is 0 or 1")
        if name == SettingId.INITIAL_WINDOW_SIZE:
            if value > MAX_WINDOW:
                problem = "INITIAL_WINDOW_SIZE is too large"
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, problem)
            calls = self._streams.calls.values()
            # It looks at every call.
            self._budgets.spend(Event.H2_CONTROL_FLOOD, len(calls) // CALLS_PER_UNIT)
            self._queue.set_initial_window(value, calls)
        if name == SettingId.MAX_FRAME_SIZE:
            if not MIN_MAX_FRAME <= value <= MAX_MAX_FRAME:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "MAX_FRAME_SIZE is out of range")
            self._queue.set_max_frame(value)

    def stray_continuation(self, _flags: int, _stream_id: int, _payload: bytes) -> None:
        """CONTINUATION outside of a header block: raise ConnectionFault with PROTOCOL_ERROR."""
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")

    def push_promise(self, _flags: int, _stream_id: int, _payload: bytes) -> None:
        """PUSH_PROMISE, which a client must not send: raise ConnectionFault with PROTOCOL_ERROR."""
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE from a client")

    def ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        """PING: queue its ACK. For the ACK of the PING of `drain`, call `refuse_new`.

        Other ACKs change nothing. Raises ConnectionFault for a stream id, or if the payload has not
        8 bytes.
        """
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PING of a stream")
        require_size(len(payload) == PING_BYTES, "PING")
        self._budgets.spend(Event.H2_CONTROL_FLOOD)
        if not flags & ACK:
            self._queue.control(frame(FrameType.PING, ACK, 0, payload))
        elif self.draining and payload == DRAIN_PING:
            self.refuse_new()

    def goaway(self, _flags: int, stream_id: int, payload: bytes) -> None:
        """GOAWAY: changes nothing, because the server opens no streams.

        Raises ConnectionFault for a stream id, or if the payload has less than 8 bytes.
        """
        self._budgets.spend(Event.H2_CONTROL_FLOOD)
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "GOAWAY of a stream")
        require_size(len(payload) >= GOAWAY_BYTES, "GOAWAY")

    def window_update(self, _flags: int, stream_id: int, payload: bytes) -> None:
        """WINDOW_UPDATE: widen the window of a stream, or for stream 0 of the connection.

        Then send responses that waited. Raises ConnectionFault if the payload has not 4 bytes. An
        increment of 0 or a window over MAX_WINDOW raises ConnectionFault for stream 0, else
        StreamFault.
        """
        require_size(len(payload) == UINT32.size, "WINDOW_UPDATE")
        self._budgets.spend(Event.H2_CONTROL_FLOOD)
        increment = UINT32.unpack(payload)[0] & MAX_WINDOW
        if stream_id:
            self._streams.window_update(stream_id, increment)
        elif increment:
            self._queue.widen(increment)
        else:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a WINDOW_UPDATE by nothing")
        self._streams.responses.send_waiting()


Handler = Callable[[FrameHandlers, int, int, bytes], None]
Phase = Mapping[int, Handler]

DATA: Final = int(FrameType.DATA)
GREETING: Final[Phase] = {FrameType.SETTINGS: FrameHandlers.first_settings}
OPEN: Final[Phase] = {  # and DATA, which the streams take
    FrameType.HEADERS: FrameHandlers.headers,
    FrameType.PRIORITY: FrameHandlers.priority,
    FrameType.RST_STREAM: FrameHandlers.rst_stream,
    FrameType.SETTINGS: FrameHandlers.settings,
    FrameType.PUSH_PROMISE: FrameHandlers.push_promise,
    FrameType.PING: FrameHandlers.ping,
    FrameType.GOAWAY: FrameHandlers.goaway,
    FrameType.WINDOW_UPDATE: FrameHandlers.window_update,
    FrameType.CONTINUATION: FrameHandlers.stray_continuation,
}
HEADER_BLOCK: Final[Phase] = {FrameType.CONTINUATION: FrameHandlers.continuation}
