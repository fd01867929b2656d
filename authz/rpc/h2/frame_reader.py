"""Cuts the bytes of a client into frames."""

from collections.abc import Callable, Iterator
from typing import Final

from authz.rpc.h2.flood_budgets import FloodBudgets
from authz.rpc.h2.frames import (
    END_HEADERS,
    FRAME_HEADER,
    FRAME_HEADER_BYTES,
    MAX_FRAME_BYTES,
    MAX_STREAM_ID,
    PREFACE,
    ConnectionFault,
    ErrorCode,
    FrameType,
)

Frame = tuple[int, int, int, bytes]  # type, flags, stream id, payload
TakeCall = Callable[[bytes, int, int, int], int]
"""Takes a call that came whole: WholeCalls.take."""

_HEADERS: Final = int(FrameType.HEADERS)
_unpack_header: Final = FRAME_HEADER.unpack_from

TURN_FRAMES: Final = 192  # of about 20 us at most


class FrameReader:
    """Checks the connection preface, then returns frames, a turn at a time.

    A turn ends after TURN_FRAMES (192) frames or whole calls, or when `budgets` end it. So small
    frames do not hold the loop for longer than 5 ms. more: whether the turn ended before the bytes
    did. The rest is kept for the next turn. take_call: takes calls that came whole; their frames
    are not returned.
    """

    __slots__ = ("_budgets", "_greeted", "_rest", "_take_call", "more")

    def __init__(self, budgets: FloodBudgets, take_call: TakeCall = lambda *_: 0) -> None:
        self._take_call = take_call
        self._budgets = budgets
        self._rest = b""
        self._greeted = False
        self.more = False

    def read(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames of a turn, each as type, flags, stream id and payload.

        The bytes after the last whole frame are kept for the next call, so iterate to the end.
        While `more` is set, call it with no data. Raises ConnectionFault for a wrong preface, or a
        payload over MAX_FRAME_BYTES (16 KiB).
        """
        buffer = self._rest + data if self._rest else data
        at, size = 0, len(buffer)
        if not self._greeted:
            if not buffer.startswith(PREFACE[:size]):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the client speaks no HTTP/2")
            if size < len(PREFACE):
                self._rest = buffer
                return
            self._greeted = True
            at = len(PREFACE)
        self.more = False
        take_call = self._take_call
        for _ in self._budgets.begin_turn(TURN_FRAMES):
            start = at + FRAME_HEADER_BYTES
            if start > size:
                break
            high, low, frame_type, flags, stream_id = _unpack_header(buffer, at)
            length = high << 8 | low
            if length > MAX_FRAME_BYTES:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a frame over the limit")
            end = start + length
            if end > size:
                break
            if frame_type == _HEADERS and flags == END_HEADERS:
                after = take_call(buffer, start, end, stream_id)
                if after:
                    at = after
                    continue
            yield frame_type, flags, stream_id & MAX_STREAM_ID, buffer[start:end]
            at = end
        else:
            self.more = True
        self._rest = buffer[at:]
