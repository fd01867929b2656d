"""Frames on the wire (RFC 9113, sections 4, 6 and 7)."""

from collections.abc import Mapping
from enum import IntEnum
from struct import Struct
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEADER: Final = Struct(">HBBBL")  # length (its first two bytes, its third), type, flags, id
FRAME_HEADER_BYTES: Final = FRAME_HEADER.size
MAX_FRAME_BYTES: Final = 16_384  # of a payload that we accept: the default, which we never raise
MAX_STREAM_ID: Final = 2**31 - 1
MAX_WINDOW: Final = 2**31 - 1
DEFAULT_WINDOW: Final = 65_535

END_STREAM: Final = 0x01  # of HEADERS and DATA
ACK: Final = 0x01  # of SETTINGS and PING
END_HEADERS: Final = 0x04
PADDED: Final = 0x08
PRIORITISED: Final = 0x20  # of HEADERS: the five bytes of a PRIORITY frame come first

PRIORITY_BYTES: Final = 5

UINT32: Final = Struct(">L")
SETTING: Final = Struct(">HL")


class FrameType(IntEnum):
    """HTTP/2 frame types, RFC 9113 section 6."""

    DATA = 0x0
    HEADERS = 0x1
    PRIORITY = 0x2
    RST_STREAM = 0x3
    SETTINGS = 0x4
    PUSH_PROMISE = 0x5
    PING = 0x6
    GOAWAY = 0x7
    WINDOW_UPDATE = 0x8
    CONTINUATION = 0x9


class ErrorCode(IntEnum):
    """Error codes of RST_STREAM and GOAWAY."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    ENHANCE_YOUR_CALM = 0xB


class SettingId(IntEnum):
    """SETTINGS ids that this server sends or applies, RFC 9113 section 6.5.2."""

    HEADER_TABLE_SIZE = 0x1
    ENABLE_PUSH = 0x2
    MAX_CONCURRENT_STREAMS = 0x3
    INITIAL_WINDOW_SIZE = 0x4
    MAX_FRAME_SIZE = 0x5
    MAX_HEADER_LIST_SIZE = 0x6


class ConnectionFault(Exception):  # noqa: N818  this project calls such exceptions faults
    """A connection error: GOAWAY with `code` ends the connection. `problem` quotes no input."""

    def __init__(self, code: ErrorCode, problem: str) -> None:
        super().__init__(f"{code.name}: {problem}")
        self.code = code
        self.problem = problem


class StreamFault(Exception):  # noqa: N818  as above
    """A stream error: RST_STREAM with `code` ends the stream. Other streams are not affected."""

    def __init__(self, stream_id: int, code: ErrorCode) -> None:
        super().__init__(code.name)
        self.stream_id = stream_id
        self.code = code


def frame(frame_type: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Return an encoded frame: a header of 9 bytes and the payload. The values are not checked."""
    size = len(payload)
    return FRAME_HEADER.pack(size >> 8, size & 0xFF, frame_type, flags, stream_id) + payload


def settings_frame(values: Mapping[SettingId, int]) -> bytes:
    """Return a SETTINGS frame (section 6.5): entries of a 2-byte id and a 4-byte value."""
    entries = b"".join(SETTING.pack(*item) for item in values.items())
    return frame(FrameType.SETTINGS, 0, 0, entries)


def rst_stream_frame(stream_id: int, code: ErrorCode) -> bytes:
    """Return a RST_STREAM frame (section 6.4)."""
    return frame(FrameType.RST_STREAM, 0, stream_id, UINT32.pack(code))


def window_update_frame(stream_id: int, increment: int) -> bytes:
    """Return a WINDOW_UPDATE frame (section 6.9); stream 0 is the connection."""
    return frame(FrameType.WINDOW_UPDATE, 0, stream_id, UINT32.pack(increment))


def goaway_frame(last_stream_id: int, code: ErrorCode, problem: str = "") -> bytes:
    """Return a GOAWAY frame (section 6.8), with the problem as its debug data in UTF-8."""
    payload = UINT32.pack(last_stream_id) + UINT32.pack(code) + problem.encode()
    return frame(FrameType.GOAWAY, 0, 0, payload)


def unpadded(flags: int, payload: bytes) -> bytes:
    """Return the payload of a DATA or HEADERS frame without its padding; as it is if not PADDED.

    Raises ConnectionFault: FRAME_SIZE_ERROR if a padded payload is empty, PROTOCOL_ERROR if the
    padding does not fit into it.
    """
    if not flags & PADDED:
        return payload
    if not payload:
        problem = "a padded frame without a pad length"
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, problem)
    padding = payload[0]
    if padding >= len(payload):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "more padding than payload")
    return payload[1 : len(payload) - padding]


def header_block(flags: int, stream_id: int, payload: bytes) -> bytes:
    """Return the header block of a HEADERS frame without its padding and its priority.

    Raises ConnectionFault if either does not fit, or if the stream depends on itself.
    """
    payload = unpadded(flags, payload)
    if not flags & PRIORITISED:
        return payload
    require_size(len(payload) >= PRIORITY_BYTES, "HEADERS")
    refuse_self_dependency(stream_id, payload)
    return payload[PRIORITY_BYTES:]


def refuse_self_dependency(stream_id: int, priority: bytes) -> None:
    """Raise ConnectionFault if a stream depends on itself. priority: at least its first 4 bytes."""
    if UINT32.unpack_from(priority)[0] & MAX_STREAM_ID == stream_id:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a stream that depends on itself")


def require_size(is_right: bool, name: str) -> None:
    """Raise ConnectionFault with FRAME_SIZE_ERROR unless the size of a frame is right."""
    if not is_right:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"{name} of a wrong size")
