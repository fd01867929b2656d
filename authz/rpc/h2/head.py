"""What a request's header fields ask for: the rules of HTTP (RFC 9113, section 8), then of gRPC.

Not one field's value is shown to anybody: a log or an error that quoted one could quote a key.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from authz.rpc.h2.answers import (
    EXPIRED,
    NOT_GRPC,
    NOT_GRPC_WITHOUT_BODY,
    NOT_OFFERED,
    Answer,
    GrpcCode,
    Status,
    status_answer,
)

Field = tuple[bytes, bytes]
Route = Callable[..., bytes | Status | Awaitable[bytes]]
"""Answers a request message: at once, or later when it returns an awaitable.

Where calls are traced it also gets the call's traceparent, or None.
"""

PSEUDO: Final = {b":method", b":scheme", b":path", b":authority"}
CONNECTION_SPECIFIC: Final = {
    *(b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
}
ONCE: Final = {b"host", b"content-type", b"content-length", b"grpc-timeout"}
NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
UNFIT_VALUE: Final = re.compile(rb"[\0\r\n]|\A[ \t]|[ \t]\Z")
GRPC_TYPE: Final = re.compile(rb"application/grpc(?:[+;].*)?")
TIMEOUT: Final = re.compile(rb"([0-9]{1,8})([HMSmun])")
LENGTH: Final = re.compile(rb"[0-9]{1,18}")
SECONDS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
LONGEST: Final = 30.0  # seconds; how long a call may take, whatever deadline it names

BAD_TIMEOUT: Final = Status(GrpcCode.INTERNAL, "grpc-timeout is malformed")


class Malformed(Exception):  # noqa: N818  the RFC's word
    """The fields are no request. The stream ends with PROTOCOL_ERROR."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a request asks for, or why it is refused whatever its body says."""

    route: Route | None
    refusal: Answer | None = None
    timeout: float = LONGEST
    content_length: int | None = None


def read_head(routes: Mapping[bytes, Route], fields: Iterable[Field]) -> Head:
    """Raises Malformed."""
    pseudo, regular = _sorted(fields)
    method = pseudo.get(b":method")
    if method is None or (method != b"CONNECT" and not _has_target(pseudo)):
        raise Malformed
    if b"host" in regular and not _agree(regular[b"host"], pseudo.get(b":authority")):
        raise Malformed
    length = _content_length(regular.get(b"content-length"))
    if method != b"POST" or not GRPC_TYPE.fullmatch(regular.get(b"content-type", b"")):
        refusal = NOT_GRPC_WITHOUT_BODY if method == b"HEAD" else NOT_GRPC
        return Head(None, refusal, content_length=length)
    route = routes.get(pseudo[b":path"])
    if route is None:
        return Head(None, status_answer(NOT_OFFERED), content_length=length)
    timeout = _timeout(regular.get(b"grpc-timeout"))
    if isinstance(timeout, Status):
        return Head(None, status_answer(timeout), content_length=length)
    return Head(route, None, timeout, length)


def check_trailers(fields: Iterable[Field]) -> None:
    """A request's trailers mean nothing here, but they have to be well-formed. Raises Malformed."""
    pseudo, _ = _sorted(fields)
    if pseudo:
        raise Malformed


def _sorted(fields: Iterable[Field]) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
    """Pseudo-header fields and the others."""
    pseudo: dict[bytes, bytes] = {}
    regular: dict[bytes, bytes] = {}
    for name, value in fields:
        if UNFIT_VALUE.search(value):
            raise Malformed
        if name in PSEUDO:
            if name in pseudo or regular:
                raise Malformed
            pseudo[name] = value
            continue
        _check_regular(name, value, repeated=name in regular)
        regular[name] = value
    return pseudo, regular


def _check_regular(name: bytes, value: bytes, *, repeated: bool) -> None:
    if not NAME.fullmatch(name) or name in CONNECTION_SPECIFIC:
        raise Malformed
    if (name == b"te" and value != b"trailers") or (repeated and name in ONCE):
        raise Malformed


def _has_target(pseudo: Mapping[bytes, bytes]) -> bool:
    return b":scheme" in pseudo and pseudo.get(b":path", b"") != b""


def _agree(host: bytes, authority: bytes | None) -> bool:
    return authority is None or host.lower() == authority.lower()


def _content_length(text: bytes | None) -> int | None:
    if text is None:
        return None
    if not LENGTH.fullmatch(text):
        raise Malformed
    return int(text)


def _timeout(text: bytes | None) -> float | Status:
    if text is None:
        return LONGEST
    match = TIMEOUT.fullmatch(text)
    if match is None:
        return BAD_TIMEOUT
    seconds = int(match[1]) * SECONDS[match[2]]
    return min(seconds, LONGEST) if seconds else EXPIRED
