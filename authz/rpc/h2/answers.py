"""What is sent back to a call: a message, a gRPC status, or plain text to who speaks no gRPC.

Header blocks are literals that are never indexed: they are the same for every client, whatever its
table, and those that repeat are made once.
"""

from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple
from urllib.parse import quote

from hpack.hpack import encode_integer

MESSAGE_PREFIX: Final = Struct(">BL")  # compressed?, length
PREFIX_BYTES: Final = MESSAGE_PREFIX.size


class GrpcCode(IntEnum):
    """The gRPC status codes that are used here."""

    OK = 0
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13


class Status(NamedTuple):
    """How a call ends that gets no message."""

    code: GrpcCode
    message: str


Answer = tuple[bytes, bytes, bytes]
"""A response: a header block, a body, and a block of trailers. What is empty is not sent."""


def literal(name: bytes, value: bytes) -> bytes:
    """A header field, without indexing and without Huffman coding."""
    return b"\0" + _string(name) + _string(value)


def _string(text: bytes) -> bytes:
    return bytes(encode_integer(len(text), 7)) + text


_STATUS_200: Final = b"\x88"  # stands in the static table
GRPC_HEAD: Final = _STATUS_200 + literal(b"content-type", b"application/grpc")
GRPC_OK: Final = literal(b"grpc-status", b"0")
_TEXT: Final = b"This port answers gRPC: POST with content-type application/grpc.\n"
_TEXT_HEAD: Final = (
    literal(b":status", b"415")
    + literal(b"content-type", b"text/plain; charset=utf-8")
    + literal(b"content-length", str(len(_TEXT)).encode())
)

NOT_GRPC: Final[Answer] = (_TEXT_HEAD, _TEXT, b"")
NOT_GRPC_WITHOUT_BODY: Final[Answer] = (_TEXT_HEAD, b"", b"")  # to HEAD


def message_answer(message: bytes) -> Answer:
    """A message, and that all is well."""
    return GRPC_HEAD, MESSAGE_PREFIX.pack(0, len(message)) + message, GRPC_OK


def status_answer(status: Status) -> Answer:
    """A status alone."""
    code, message = status
    head = GRPC_HEAD + literal(b"grpc-status", str(int(code)).encode())
    head += literal(b"grpc-message", percent_encoded(message))
    if status is COMPRESSED:
        head += literal(b"grpc-accept-encoding", b"identity")
    return head, b"", b""


_UNRESERVED: Final = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


def percent_encoded(text: str) -> bytes:
    """Text as grpc-message carries it: printable ASCII, the rest as the bytes of UTF-8."""
    return quote(text, safe=_UNRESERVED).encode()


COMPRESSED: Final = Status(GrpcCode.UNIMPLEMENTED, "compressed messages are not understood")
EXPIRED: Final = Status(GrpcCode.DEADLINE_EXCEEDED, "the deadline has passed")
FAILED: Final = Status(GrpcCode.INTERNAL, "internal error")
HEADERS_TOO_LARGE: Final = Status(GrpcCode.RESOURCE_EXHAUSTED, "the headers are too large")
MESSAGE_TOO_LARGE: Final = Status(GrpcCode.RESOURCE_EXHAUSTED, "the message is too large")
NO_MEMORY: Final = Status(GrpcCode.RESOURCE_EXHAUSTED, "too many unfinished messages")
NOT_ONE_MESSAGE: Final = Status(GrpcCode.UNIMPLEMENTED, "the call takes exactly one message")
NOT_OFFERED: Final = Status(GrpcCode.UNIMPLEMENTED, "there is no such method here")
TRUNCATED: Final = Status(GrpcCode.INTERNAL, "the message ends early")


def unframed(body: bytes, limit: int) -> bytes | Status:
    """The one message of a whole request body, or why there is none."""
    if not body:
        return NOT_ONE_MESSAGE
    if len(body) >= PREFIX_BYTES:
        compressed, length = MESSAGE_PREFIX.unpack_from(body)
        if not compressed and length == len(body) - PREFIX_BYTES <= limit:
            return body[PREFIX_BYTES:]
    return refused_early(body, limit) or TRUNCATED


def refused_early(beginning: bytes | bytearray, limit: int) -> Status | None:
    """Why a body that begins like this can never become one message."""
    if beginning and beginning[0]:
        return COMPRESSED
    if len(beginning) < PREFIX_BYTES:
        return None
    _, length = MESSAGE_PREFIX.unpack_from(beginning)
    if length > limit:
        return MESSAGE_TOO_LARGE
    return NOT_ONE_MESSAGE if len(beginning) - PREFIX_BYTES > length else None
