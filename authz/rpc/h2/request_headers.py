"""Turns a request's header fields into a method, by the rules of HTTP and then of gRPC.

The rules of HTTP are those of RFC 9113, section 8. No value of a field stands in an error or a log
line: it could be a key.
"""

import hmac
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from authz.rpc.h2.responses import (
    EXPIRED,
    NOT_GRPC,
    NOT_GRPC_WITHOUT_BODY,
    UNKNOWN_METHOD,
    GrpcCode,
    GrpcStatus,
    Response,
    status_response,
)

Field = tuple[bytes, bytes]
MethodHandler = Callable[..., bytes | GrpcStatus | Awaitable[bytes | GrpcStatus]]
"""Takes a request message and returns the response message or a status, or an awaitable of one.

Where calls are traced, a second argument is the call's traceparent or None.
"""

PSEUDO: Final = {b":method", b":scheme", b":path", b":authority"}
CONNECTION_SPECIFIC: Final = {
    *(b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
}
ONCE: Final = {b"host", b"content-type", b"content-length", b"grpc-timeout"}
NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
BAD_VALUE: Final = re.compile(rb"[\0\r\n]|\A[ \t]|[ \t]\Z")
GRPC_TYPE: Final = re.compile(rb"application/grpc(?:[+;].*)?")
TIMEOUT: Final = re.compile(rb"([0-9]{1,8})([HMSmun])")
LENGTH: Final = re.compile(rb"[0-9]{1,18}")
SECONDS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
MAX_TIMEOUT: Final = 30.0  # seconds that a call may take, whatever grpc-timeout says

NO_TOKEN: Final = GrpcStatus(GrpcCode.UNAUTHENTICATED, "the call needs a valid bearer token")
BAD_TIMEOUT: Final = GrpcStatus(GrpcCode.INTERNAL, "grpc-timeout is malformed")


class MalformedHeaders(Exception):  # noqa: N818  RFC 9113 calls such a request malformed
    """The fields are not a valid request. The stream ends with PROTOCOL_ERROR."""


@dataclass(frozen=True, slots=True)
class RequestHeaders:
    """The handler of the method that a request calls, or its refusal with `handler` None.

    timeout: seconds that the call may take. content_length: bytes, None if the header is absent.
    """

    handler: MethodHandler | None
    refusal: Response | None = None
    timeout: float = MAX_TIMEOUT
    content_length: int | None = None


def parse_request_headers(
    handlers: Mapping[bytes, MethodHandler],
    fields: Iterable[Field],
    tokens: Collection[bytes] = (),
) -> RequestHeaders:
    """Return the handler that the fields name, or a refusal.

    Refused are requests other than a gRPC POST, an unknown `:path`, and a `grpc-timeout` that is
    malformed or 0. With `tokens`, also refused are calls without one of them as bearer token (RFC
    6750). Raises MalformedHeaders if the fields break RFC 9113, section 8. handlers: by `:path`.
    """
    pseudo, regular = _split(fields)
    method = pseudo.get(b":method")
    if method is None or (method != b"CONNECT" and not _has_target(pseudo)):
        raise MalformedHeaders
    if b"host" in regular and not _agree(regular[b"host"], pseudo.get(b":authority")):
        raise MalformedHeaders
    length = _content_length(regular.get(b"content-length"))
    if method != b"POST" or not GRPC_TYPE.fullmatch(regular.get(b"content-type", b"")):
        refusal = NOT_GRPC_WITHOUT_BODY if method == b"HEAD" else NOT_GRPC
        return RequestHeaders(None, refusal, content_length=length)
    handler = handlers.get(pseudo[b":path"])
    if handler is None:
        return RequestHeaders(None, status_response(UNKNOWN_METHOD), content_length=length)
    if tokens and not _has_token(regular.get(b"authorization", b""), tokens):
        return RequestHeaders(None, status_response(NO_TOKEN), content_length=length)
    timeout = _timeout(regular.get(b"grpc-timeout"))
    if isinstance(timeout, GrpcStatus):
        return RequestHeaders(None, status_response(timeout), content_length=length)
    return RequestHeaders(handler, None, timeout, length)


def _has_token(authorization: bytes, tokens: Collection[bytes]) -> bool:
    """Return whether the field is `Bearer` and one of the tokens. Compares in constant time."""
    scheme, _, given = authorization.partition(b" ")
    found = [hmac.compare_digest(given, token) for token in tokens]
    return scheme.lower() == b"bearer" and any(found)


def check_trailers(fields: Iterable[Field]) -> None:
    """Raise MalformedHeaders if a field is invalid or a pseudo-header field.

    An empty list is valid.
    """
    pseudo, _ = _split(fields)
    if pseudo:
        raise MalformedHeaders


def _split(fields: Iterable[Field]) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
    """Return the pseudo-header fields and the regular ones, by name; the last of repeated ones.

    Raises MalformedHeaders for an invalid name or value, a repetition that is not allowed, or a
    pseudo-header field that is repeated or not in front.
    """
    pseudo: dict[bytes, bytes] = {}
    regular: dict[bytes, bytes] = {}
    for name, value in fields:
        if BAD_VALUE.search(value):
            raise MalformedHeaders
        if name in PSEUDO:
            if name in pseudo or regular:
                raise MalformedHeaders
            pseudo[name] = value
            continue
        _check_regular(name, value, repeated=name in regular)
        regular[name] = value
    return pseudo, regular


def _check_regular(name: bytes, value: bytes, *, repeated: bool) -> None:
    if not NAME.fullmatch(name) or name in CONNECTION_SPECIFIC:
        raise MalformedHeaders
    if (name == b"te" and value != b"trailers") or (repeated and name in ONCE):
        raise MalformedHeaders


def _has_target(pseudo: Mapping[bytes, bytes]) -> bool:
    return b":scheme" in pseudo and pseudo.get(b":path", b"") != b""


def _agree(host: bytes, authority: bytes | None) -> bool:
    return authority is None or host.lower() == authority.lower()


def _content_length(text: bytes | None) -> int | None:
    if text is None:
        return None
    if not LENGTH.fullmatch(text):
        raise MalformedHeaders
    return int(text)


def _timeout(text: bytes | None) -> float | GrpcStatus:
    """Return the seconds of a grpc-timeout: at most MAX_TIMEOUT (30 s), which None also gives.

    Return BAD_TIMEOUT if it is malformed, EXPIRED if it is 0.
    """
    if text is None:
        return MAX_TIMEOUT
    match = TIMEOUT.fullmatch(text)
    if match is None:
        return BAD_TIMEOUT
    seconds = int(match[1]) * SECONDS[match[2]]
    return min(seconds, MAX_TIMEOUT) if seconds else EXPIRED
