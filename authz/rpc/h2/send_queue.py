"""Packs responses into frames, and holds frames that wait to be sent.

All within the client's windows (RFC 9113, sections 5.2 and 6.9).

A response is in `_waiting` only while the connection's window alone holds it up. A response that
its stream's window holds up is reconsidered when that window grows. So a WINDOW_UPDATE, which costs
the client 13 bytes, never makes us look at every response.
"""

from collections.abc import Collection
from struct import Struct
from typing import Final

from authz.rpc.h2.frames import (
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    MAX_FRAME_BYTES,
    MAX_WINDOW,
    ConnectionFault,
    ErrorCode,
    FrameType,
    StreamFault,
    frame,
)
from authz.rpc.h2.responses import (
    GRPC_HEADERS,
    GRPC_TRAILERS,
    PREFIX_BYTES,
    Response,
    message_response,
)
from authz.rpc.h2.stream_states import Call

# A dynamic table size update to 0. Our encoder never uses the table and says so once, so a later
# change of the client's setting needs no reaction.
EMPTY_TABLE: Final = b"\x20"
LAST_HEADERS: Final = END_HEADERS | END_STREAM
DATA, HEADERS = int(FrameType.DATA), int(FrameType.HEADERS)

# The bytes around the message of nearly every response. Before it: a HEADERS frame (length, type
# and flags, stream, block), the frame header of DATA (length and type in one number, because type
# and flags are 0), and the prefix of a gRPC message (not compressed, length). After it: a HEADERS
# frame with the trailers.
_BEFORE: Final = Struct(f">5sL{len(GRPC_HEADERS)}sLxLxL")
_BEFORE_HEADERS: Final = frame(HEADERS, END_HEADERS, 0, GRPC_HEADERS)[:5]
_AFTER: Final = Struct(f">5sL{len(GRPC_TRAILERS)}s")
_AFTER_HEADERS: Final = frame(HEADERS, LAST_HEADERS, 0, GRPC_TRAILERS)[:5]
_pack_before, _pack_after = _BEFORE.pack, _AFTER.pack


class SendQueue:
    """Collects frames. Only the bodies of responses wait for windows."""

    __slots__ = ("_frames", "_initial", "_max_frame", "_table_announced", "_waiting", "_window")

    def __init__(self) -> None:
        self._frames: list[bytes] = []
        self._window = DEFAULT_WINDOW  # of the connection
        self._initial = DEFAULT_WINDOW  # of each stream; a call's credit comes on top
        self._max_frame = MAX_FRAME_BYTES
        self._waiting: dict[int, Call] = {}
        self._table_announced = False

    def take(self) -> bytes:
        """Remove and return all bytes that may be sent now, empty if there are none."""
        frames, self._frames = self._frames, []
        return b"".join(frames)

    def control(self, encoded: bytes) -> None:
        """Add an encoded frame that is not subject to flow control."""
        self._frames.append(encoded)

    def message(self, call: Call, message: bytes) -> bool:
        """Add a response with a message and status OK. Return True if all of it may be sent now.

        Otherwise the rest waits for windows, and `send_waiting` queues it. The usual case is packed
        in one step, which saves a twentieth of a whole Check.
        """
        size = len(message) + PREFIX_BYTES
        if (
            size > self._window
            or size > self._initial + call.credit
            or size > self._max_frame
            or not self._table_announced
        ):
            return self.response(call, message_response(message))
        self._window -= size
        stream = call.id
        self._frames += (
            _pack_before(
                _BEFORE_HEADERS, stream, GRPC_HEADERS, size << 8, stream, size - PREFIX_BYTES
            ),
            message,
            _pack_after(_AFTER_HEADERS, stream, GRPC_TRAILERS),
        )
        return True

    def response(self, call: Call, response: Response) -> bool:
        """Add a response. Return True if all of it may be sent now.

        Otherwise the rest of its body waits for windows, and `send_waiting` queues it.
        """
        block, body, trailers = response
        if not self._table_announced:
            self._table_announced = True
            block = EMPTY_TABLE + block
        if not body:
            self._frames.append(frame(HEADERS, LAST_HEADERS, call.id, block))
            return True
        self._frames.append(frame(HEADERS, END_HEADERS, call.id, block))
        size = len(body)
        if size > self._window or size > self._initial + call.credit or size > self._max_frame:
            call.response = response
            self._waiting[call.id] = call
            return self._send_part(call)
        self._window -= size
        self._send_last(call.id, body, trailers)
        return True

    def discard(self, call: Call) -> None:
        """Forget the part of a call's response that waits for windows. No-op if there is none."""
        self._waiting.pop(call.id, None)

    def widen(self, increment: int) -> None:
        """Add `increment` bytes to the connection's window.

        Raises ConnectionFault above MAX_WINDOW. Waiting data is sent by `send_waiting`.
        """
        if self._window + increment > MAX_WINDOW:
            problem = "the connection's window is too large"
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, problem)
        self._window += increment

    def widen_stream(self, call: Call, increment: int) -> None:
        """Add `increment` bytes to a stream's window. Raises StreamFault above MAX_WINDOW.

        Waiting data is sent by `send_waiting`.
        """
        if self._initial + call.credit + increment > MAX_WINDOW:
            raise StreamFault(call.id, ErrorCode.FLOW_CONTROL_ERROR)
        call.credit += increment
        self._reconsider(call)

    def set_initial_window(self, size: int, calls: Collection[Call]) -> None:
        """Apply SETTINGS_INITIAL_WINDOW_SIZE of `size` bytes, also to the open streams of `calls`.

        Waiting data is sent by `send_waiting`. Raises ConnectionFault if the window of a stream
        exceeds MAX_WINDOW; then nothing is changed.
        """
        if any(size + call.credit > MAX_WINDOW for call in calls):
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a stream's window is too large")
        self._initial = size
        for call in calls:
            self._reconsider(call)

    def set_max_frame(self, size: int) -> None:
        """Apply SETTINGS_MAX_FRAME_SIZE: the most bytes in one DATA frame.

        The value is not checked.
        """
        self._max_frame = size

    def send_waiting(self) -> list[Call]:
        """Queue as much response data as the windows allow.

        Return the calls that are now complete.
        """
        done = []
        while self._waiting and self._window > 0:
            call = next(iter(self._waiting.values()))
            if self._send_part(call):
                done.append(call)
        return done

    def _reconsider(self, call: Call) -> None:
        """Let `send_waiting` try a response again. No-op if none waits for the client's windows."""
        if call.response is not None:
            self._waiting[call.id] = call

    def _room(self, call: Call) -> int:
        return min(self._window, self._initial + call.credit, self._max_frame)

    def _send_part(self, call: Call) -> bool:
        assert call.response is not None  # noqa: S101  every call in _waiting has one
        _, body, trailers = call.response
        while (room := self._room(call)) > 0:
            part = body[call.sent : call.sent + room]
            call.sent += len(part)
            call.credit -= len(part)
            self._window -= len(part)
            if call.sent == len(body):
                del self._waiting[call.id]
                self._send_last(call.id, part, trailers)
                return True
            self._frames.append(frame(DATA, 0, call.id, part))
        if self._window > 0:
            del self._waiting[call.id]
        return False

    def _send_last(self, stream_id: int, body: bytes, trailers: bytes) -> None:
        if trailers:
            self._frames.append(frame(DATA, 0, stream_id, body))
            self._frames.append(frame(HEADERS, LAST_HEADERS, stream_id, trailers))
        else:
            self._frames.append(frame(DATA, END_STREAM, stream_id, body))
