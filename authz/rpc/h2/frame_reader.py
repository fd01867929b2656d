"""Cuts the bytes of a client into frames."""

from collections.abc import Iterator
from typing import Final

from authz.rpc.h2.flood_budgets import FloodBudgets
from authz.rpc.h2.frames import (
    FRAME_HEADER,
    FRAME_HEADER_BYTES,
    MAX_FRAME_BYTES,
    MAX_STREAM_ID,
    PREFACE,
    ConnectionFault,
    ErrorCode,
)

Frame = tuple[int, int, int, bytes]  # type, flags, stream id, payload


TURN_FRAMES: Final = 192  # of about 20 us at most


class FrameReader:
    """Checks the connection preface, then returns frames, a turn at a time.

    A turn ends after TURN_FRAMES (192) frames, or when `budgets` end it. So small frames do not
    hold the loop for longer than 5 ms. more: whether the turn ended before the bytes did. The rest
    is kept for the next turn.
    """

    __slots__ = ("_budgets", "_greeted", "_rest", "more")

    def __init__(self, budgets: FloodBudgets) -> None:
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
        for _ in self._budgets.begin_turn(TURN_FRAMES):
            start = at + FRAME_HEADER_BYTES
            if start > size:
                break
            high, low, frame_type, flags, stream_id = FRAME_HEADER.unpack_from(buffer, at)
            length = high << 8 | low
            if length > MAX_FRAME_BYTES:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a frame over the limit")
            end = start + length
            if end > size:
                break
            yield frame_type, flags, stream_id & MAX_STREAM_ID, buffer[start:end]
            at = end
        else:
            self.more = True
        self._rest = buffer[at:]
