"""What waits to be sent, as far as the client's windows allow (RFC 9113, section 5.2 and 6.9).

An answer is among those that wait only while nothing but the connection's window holds it up. One
that its own window holds up is looked at again when that grows, so that no WINDOW_UPDATE, which
costs the client 13 bytes, has us look at every answer there is.
"""

from collections.abc import Collection
from struct import Struct
from typing import Final

from authz.rpc.h2.answers import GRPC_HEAD, GRPC_OK, PREFIX_BYTES, Answer, message_answer
from authz.rpc.h2.frames import (
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    MAX_FRAME_BYTES,
    MAX_WINDOW,
    Code,
    ConnectionFault,
    Kind,
    StreamFault,
    frame,
)
from authz.rpc.h2.streams import Call

# Our encoder uses no table and says so once, so that no later change of the client's setting
# needs an answer from it.
EMPTY_TABLE: Final = b"\x20"
LAST_HEADERS: Final = END_HEADERS | END_STREAM
DATA, HEADERS = int(Kind.DATA), int(Kind.HEADERS)

# What is around the message of nearly every answer. Before it: HEADERS, from its length to its
# flags, its stream and its block; the same of DATA, whose type and flags are 0; and the message's
# prefix, which says that it is not compressed and how long it is. After it: HEADERS again.
_BEFORE: Final = Struct(f">5sL{len(GRPC_HEAD)}sHBxxLxL")
_BEFORE_HEADERS: Final = frame(HEADERS, END_HEADERS, 0, GRPC_HEAD)[:5]
_AFTER: Final = Struct(f">5sL{len(GRPC_OK)}s")
_AFTER_HEADERS: Final = frame(HEADERS, LAST_HEADERS, 0, GRPC_OK)[:5]


class Outbox:
    """Collects frames. Only the bodies of answers wait for windows."""

    __slots__ = ("_frames", "_initial", "_max_frame", "_table_told", "_waiting", "_window")

    def __init__(self) -> None:
        self._frames: list[bytes] = []
        self._window = DEFAULT_WINDOW  # of the connection
        self._initial = DEFAULT_WINDOW  # of each stream; a call's credit comes on top
        self._max_frame = MAX_FRAME_BYTES
        self._waiting: dict[int, Call] = {}
        self._table_told = False

    def take(self) -> bytes:
        """Everything that may be sent now."""
        frames, self._frames = self._frames, []
        return b"".join(frames)

    def control(self, made: bytes) -> None:
        """Send a frame that no window restrains."""
        self._frames.append(made)

    def message(self, call: Call, message: bytes) -> bool:
        """As `answer`, of a message and that all is well; made in one go if nothing is in its way.

        It saves a twentieth of a whole Check.
        """
        size = len(message) + PREFIX_BYTES
        room = self._initial + call.credit
        if size > self._window or size > room or size > self._max_frame or not self._table_told:
            return self.answer(call, message_answer(message))
        self._window -= size
        stream = call.id
        self._frames += (
            _BEFORE.pack(
                _BEFORE_HEADERS, stream, GRPC_HEAD, size >> 8, size & 0xFF, stream, len(message)
            ),
            message,
            _AFTER.pack(_AFTER_HEADERS, stream, GRPC_OK),
        )
        return True

    def answer(self, call: Call, answer: Answer) -> bool:
        """Send an answer. Whether all of it is under way; the rest waits."""
        head, body, trailers = answer
        if not self._table_told:
            self._table_told = True
            head = EMPTY_TABLE + head
        if not body:
            self._frames.append(frame(HEADERS, LAST_HEADERS, call.id, head))
            return True
        self._frames.append(frame(HEADERS, END_HEADERS, call.id, head))
        size = len(body)
        if size > self._window or size > self._initial + call.credit or size > self._max_frame:
            call.answer = answer
            self._waiting[call.id] = call
            return self._go_on(call)
        self._window -= size
        self._end(call.id, body, trailers)
        return True

    def forget(self, call: Call) -> None:
        """The call gets no more."""
        self._waiting.pop(call.id, None)

    def widen(self, increment: int) -> None:
        """WINDOW_UPDATE of the connection. Raises ConnectionFault."""
        if self._window + increment > MAX_WINDOW:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "the connection's window is too large")
        self._window += increment

    def widen_stream(self, call: Call, increment: int) -> None:
        """WINDOW_UPDATE of a stream. Raises StreamFault."""
        if self._initial + call.credit + increment > MAX_WINDOW:
            raise StreamFault(call.id, Code.FLOW_CONTROL_ERROR)
        call.credit += increment
        self._reconsider(call)

    def set_initial_window(self, size: int, calls: Collection[Call]) -> None:
        """SETTINGS_INITIAL_WINDOW_SIZE, for the streams there are too. Raises ConnectionFault."""
        if any(size + call.credit > MAX_WINDOW for call in calls):
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "a stream's window is too large")
        self._initial = size
        for call in calls:
            self._reconsider(call)

    def set_max_frame(self, size: int) -> None:
        """SETTINGS_MAX_FRAME_SIZE."""
        self._max_frame = size

    def send_waiting(self) -> list[Call]:
        """Send what the windows allow now. The calls whose answers are complete."""
        done = []
        while self._waiting and self._window > 0:
            call = next(iter(self._waiting.values()))
            if self._go_on(call):
                done.append(call)
        return done

    def _reconsider(self, call: Call) -> None:
        """The window of a stream has changed."""
        if call.answer is not None:
            self._waiting[call.id] = call

    def _room(self, call: Call) -> int:
        return min(self._window, self._initial + call.credit, self._max_frame)

    def _go_on(self, call: Call) -> bool:
        assert call.answer is not None  # noqa: S101  who waits has one
        _, body, trailers = call.answer
        while (room := self._room(call)) > 0:
            part = body[call.sent : call.sent + room]
            call.sent += len(part)
            call.credit -= len(part)
            self._window -= len(part)
            if call.sent == len(body):
                del self._waiting[call.id]
                self._end(call.id, part, trailers)
                return True
            self._frames.append(frame(DATA, 0, call.id, part))
        if self._window > 0:
            del self._waiting[call.id]
        return False

    def _end(self, stream_id: int, body: bytes, trailers: bytes) -> None:
        if trailers:
            self._frames.append(frame(DATA, 0, stream_id, body))
            self._frames.append(frame(HEADERS, LAST_HEADERS, stream_id, trailers))
        else:
            self._frames.append(frame(DATA, END_STREAM, stream_id, body))
