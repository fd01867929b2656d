"""Cuts the bytes of a client into frames."""

from collections.abc import Iterator

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


class FrameReader:
    """Checks the connection preface, then returns frames. Keeps at most one incomplete frame."""

    __slots__ = ("_greeted", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._greeted = False

    def read(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that `data` completes, each as type, flags, stream id and payload.

        Bytes of an incomplete frame are kept for the next call, so iterate to the end. Raises
        ConnectionFault for a wrong preface, or a payload over MAX_FRAME_BYTES (16 KiB).
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
        while (start := at + FRAME_HEADER_BYTES) <= size:
            high, low, frame_type, flags, stream_id = FRAME_HEADER.unpack_from(buffer, at)
            length = high << 8 | low
            if length > MAX_FRAME_BYTES:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a frame over the limit")
            end = start + length
            if end > size:
                break
            yield frame_type, flags, stream_id & MAX_STREAM_ID, buffer[start:end]
            at = end
        self._rest = buffer[at:]
