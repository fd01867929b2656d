"""Takes calls that came whole: HEADERS with a block seen before, and right behind them their DATA.

A proxy sends nearly every call so. Both frames then have the effect that they have one by one, for
less than half of the cost. In every other case nothing is done, and the frames are applied one by
one: what is refused, and how, stands there alone.
"""

from struct import Struct
from typing import Final

from authz.rpc.h2.flood_budgets import FloodBudgets
from authz.rpc.h2.frame_handlers import OPEN as OPEN_PHASE
from authz.rpc.h2.frame_handlers import FrameHandlers
from authz.rpc.h2.frames import END_STREAM, FRAME_HEADER_BYTES, MAX_FRAME_BYTES, FrameType
from authz.rpc.h2.request_streams import RequestStreams
from authz.rpc.h2.responses import PREFIX_BYTES
from authz.rpc.h2.stream_states import ANSWERING, Call

# The header of a DATA frame (length in two parts, type and flags, stream) and the prefix of a gRPC
# message (compressed, length). The stream has a sign: with the reserved bit it is negative, so it
# equals no stream of a HEADERS frame.
_BODY: Final = Struct(">HBHlBL")
_BODY_BYTES: Final = _BODY.size
_LAST_DATA: Final = FrameType.DATA << 8 | END_STREAM
_unpack_body: Final = _BODY.unpack_from


class WholeCalls:
    """Takes the whole calls of one connection. max_calls: that may be open."""

    __slots__ = ("_budgets", "_calls", "_frames", "_max_calls", "_message_bytes", "_streams")

    def __init__(
        self,
        frames: FrameHandlers,
        streams: RequestStreams,
        budgets: FloodBudgets,
        *,
        max_calls: int,
        message_bytes: int,
    ) -> None:
        self._frames = frames
        self._streams = streams
        self._calls = streams.calls
        self._budgets = budgets
        self._max_calls = max_calls
        self._message_bytes = message_bytes

    def take(self, buffer: bytes, start: int, end: int, stream_id: int) -> int:
        """Open and complete the call whose header block is `buffer[start:end]`.

        Return the offset behind its DATA frame. Return 0, with nothing done, if the call is not
        whole, or if anything about it is unusual. The HEADERS frame must have END_HEADERS and no
        other flag. stream_id: as it came, with the reserved bit.
        """
        behind = end + _BODY_BYTES
        if behind > len(buffer):
            return 0
        high, low, kind, data_stream, compressed, size = _unpack_body(buffer, end)
        length = high << 8 | low
        after: int = end + FRAME_HEADER_BYTES + length
        streams = self._streams
        states = streams.states
        if (
            stream_id != states.highest + 2  # so it is odd: a block that is known came on a stream
            or kind != _LAST_DATA
            or data_stream != stream_id
            or compressed
            or size != length - PREFIX_BYTES
            or size > self._message_bytes
            or length > MAX_FRAME_BYTES
            or after > len(buffer)
            or self._frames.phase is not OPEN_PHASE
            or streams.last_id is not None
            or len(self._calls) >= self._max_calls
        ):
            return 0
        block = buffer[start:end]
        headers = streams.blocks.recall(block)
        if headers is None or headers.handler is None or headers.content_length is not None:
            return 0
        now = self._budgets.now
        deadline = now + headers.timeout
        call = self._calls[stream_id] = Call(stream_id, headers, deadline, block)
        call.state = ANSWERING
        call.received = length
        states.highest = stream_id
        streams.opened_at = now
        if deadline < streams.due:  # noqa: PLR1730  a call of min() costs too much here
            streams.due = deadline
        streams.bodies.consume_window(length)
        streams.events.append((call, buffer[behind:after]))
        return after
