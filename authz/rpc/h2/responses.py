"""Responses: a message, a gRPC status, or plain text for a client that does not speak gRPC.

Header blocks are literals without indexing. They are the same for every client, whatever its
dynamic table, and the common ones are made once.
"""

from base64 import b64encode
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple
from urllib.parse import quote

from hpack.hpack import encode_integer

MESSAGE_PREFIX: Final = Struct(">BL")  # compressed flag, length
PREFIX_BYTES: Final = MESSAGE_PREFIX.size


class GrpcCode(IntEnum):
    """The gRPC status codes that this server sends."""

    OK = 0
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class GrpcStatus(NamedTuple):
    """The code and the message that end a call without a response message.

    details: a serialised google.rpc.Status for grpc-status-details-bin, or empty.
    """

    code: GrpcCode
    message: str
    details: bytes = b""


Response = tuple[bytes, bytes, bytes]
"""A header block, a body and a block of trailers. An empty part is not sent."""


def literal(name: bytes, value: bytes) -> bytes:
    """Return a header field as a literal without indexing and without Huffman coding."""
    return b"\0" + _string(name) + _string(value)


def _string(text: bytes) -> bytes:
    return bytes(encode_integer(len(text), 7)) + text


_STATUS_200: Final = b"\x88"  # index 8 of the static table
GRPC_HEADERS: Final = _STATUS_200 + literal(b"content-type", b"application/grpc")
GRPC_TRAILERS: Final = literal(b"grpc-status", b"0")
_TEXT: Final = b"This port answers gRPC: POST with content-type application/grpc.\n"
_TEXT_HEADERS: Final = (
    literal(b":status", b"415")
    + literal(b"content-type", b"text/plain; charset=utf-8")
    + literal(b"content-length", str(len(_TEXT)).encode())
)

NOT_GRPC: Final[Response] = (_TEXT_HEADERS, _TEXT, b"")
NOT_GRPC_WITHOUT_BODY: Final[Response] = (_TEXT_HEADERS, b"", b"")  # for HEAD


def message_response(message: bytes) -> Response:
    """Return the response with a message and status OK."""
    return GRPC_HEADERS, MESSAGE_PREFIX.pack(0, len(message)) + message, GRPC_TRAILERS


def status_response(status: GrpcStatus) -> Response:
    """Return the response with a status alone ("Trailers-Only" in gRPC's specification).

    COMPRESSED also names the encoding that is accepted: identity.
    """
    code, message, details = status
    block = GRPC_HEADERS + literal(b"grpc-status", str(int(code)).encode())
    block += literal(b"grpc-message", percent_encoded(message))
    if status is COMPRESSED:
        block += literal(b"grpc-accept-encoding", b"identity")
    if details:
        block += literal(b"grpc-status-details-bin", b64encode(details).rstrip(b"="))
    return block, b"", b""


_UNRESERVED: Final = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


def percent_encoded(text: str) -> bytes:
    """Return text in the form of grpc-message: printable ASCII.

    `%` and the rest are %-escaped UTF-8.
    """
    return quote(text, safe=_UNRESERVED).encode()


COMPRESSED: Final = GrpcStatus(GrpcCode.UNIMPLEMENTED, "compressed messages are not understood")
EXPIRED: Final = GrpcStatus(GrpcCode.DEADLINE_EXCEEDED, "the deadline has passed")
FAILED: Final = GrpcStatus(GrpcCode.INTERNAL, "internal error")
HEADERS_TOO_LARGE: Final = GrpcStatus(GrpcCode.RESOURCE_EXHAUSTED, "the headers are too large")
MESSAGE_TOO_LARGE: Final = GrpcStatus(GrpcCode.RESOURCE_EXHAUSTED, "the message is too large")
NO_MEMORY: Final = GrpcStatus(GrpcCode.RESOURCE_EXHAUSTED, "too many unfinished messages")
NOT_ONE_MESSAGE: Final = GrpcStatus(GrpcCode.UNIMPLEMENTED, "the call takes exactly one message")
UNKNOWN_METHOD: Final = GrpcStatus(GrpcCode.UNIMPLEMENTED, "there is no such method here")
TRUNCATED: Final = GrpcStatus(GrpcCode.INTERNAL, "the message ends early")


def unframe_message(body: bytes, limit: int) -> bytes | GrpcStatus:
    """Return the one message of a complete request body, or a status that says why there is none.

    NOT_ONE_MESSAGE if the body is empty, TRUNCATED if it ends early, else as `early_refusal`. A
    message may be empty. limit: bytes that it may have.
    """
    size = len(body) - PREFIX_BYTES
    if int.from_bytes(body[:PREFIX_BYTES]) == size <= limit:  # not compressed, and complete
        return body[PREFIX_BYTES:]
    return (early_refusal(body, limit) or TRUNCATED) if body else NOT_ONE_MESSAGE


def early_refusal(beginning: bytes | bytearray, limit: int) -> GrpcStatus | None:
    """Return a status if a body that begins like this cannot become one valid message, else None.

    COMPRESSED if the message is compressed, MESSAGE_TOO_LARGE if it exceeds `limit` bytes,
    NOT_ONE_MESSAGE if more bytes follow it.
    """
    if beginning and beginning[0]:
        return COMPRESSED
    if len(beginning) < PREFIX_BYTES:
        return None
    _, length = MESSAGE_PREFIX.unpack_from(beginning)
    if length > limit:
        return MESSAGE_TOO_LARGE
    return NOT_ONE_MESSAGE if len(beginning) - PREFIX_BYTES > length else None
