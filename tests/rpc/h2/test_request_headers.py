"""Requests from header fields: the rules of HTTP first, then those of gRPC."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.rpc.h2.header_blocks import PER_REQUEST
from authz.rpc.h2.request_headers import (
    CONNECTION_SPECIFIC,
    MAX_TIMEOUT,
    ONCE,
    PSEUDO,
    MalformedHeaders,
    RequestHeaders,
    check_trailers,
    parse_request_headers,
)
from authz.rpc.h2.responses import NOT_GRPC, NOT_GRPC_WITHOUT_BODY
from tests.support.h2.client import GRPC, PATH, grpc_fields


def check(message: bytes) -> bytes:
    """Return the request message."""
    return message


def read(fields) -> RequestHeaders:
    """Parse fields that are given as text."""
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]
    return parse_request_headers({PATH.encode(): check}, raw)


def test_a_call_finds_its_handler():
    """A call without a timeout gets the longest one."""
    assert read(GRPC) == RequestHeaders(check, None, MAX_TIMEOUT, None)


@pytest.mark.parametrize(
    "fields",
    [
        grpc_fields(method=""),
        grpc_fields(path=""),
        grpc_fields(scheme=""),
        [*grpc_fields(authority=""), (":authority", "late")],
        [(":path", PATH), *GRPC],
        [(":status", "200"), *GRPC],
        [(":unknown", "x"), *GRPC],
        grpc_fields(("Upper", "x")),
        grpc_fields(("", "x")),
        grpc_fields(("sp ace", "x")),
        grpc_fields(("colon:", "x")),
        grpc_fields(("n\x00", "x")),
        grpc_fields(("\xe9", "x")),
        grpc_fields(("x", "a\nb")),
        grpc_fields(("x", "a\rb")),
        grpc_fields(("x", "a\0b")),
        grpc_fields(("x", " a")),
        grpc_fields(("x", "a\t")),
        grpc_fields(("te", "gzip")),
        grpc_fields(("host", "another")),
        grpc_fields(("connection", "close")),
        grpc_fields(("transfer-encoding", "chunked")),
        grpc_fields(("content-length", "-1")),
        grpc_fields(("content-length", "")),
        grpc_fields(("content-length", "1"), ("content-length", "1")),
        grpc_fields(("content-length", "9" * 19)),
        grpc_fields(("content-type", "application/grpc")),
        [field for field in GRPC if field[0] != ":path"],
    ],
)
def test_fields_that_are_no_request_are_malformed(fields):
    """RFC 9113 makes them a stream error."""
    with pytest.raises(MalformedHeaders):
        read(fields)


@pytest.mark.parametrize("fields", [grpc_fields(), grpc_fields(authority="")])
def test_a_host_may_repeat_the_authority(fields):
    """RFC 9113 only demands that the two agree."""
    assert read([*fields, ("host", "AUTHZ")]).handler is check


@pytest.mark.parametrize("method", ["GET", "PUT", "get", "CONNECT"])
def test_a_method_that_is_not_post_is_not_grpc(method):
    """The answer is 415 with a body that says why."""
    assert read(grpc_fields(method=method)).refusal == NOT_GRPC


def test_connect_needs_neither_scheme_nor_path():
    """CONNECT is well-formed without them, and refused as no gRPC."""
    fields = [(":method", "CONNECT"), (":authority", "a:1"), ("content-type", "application/grpc")]
    assert read(fields).refusal == NOT_GRPC


def test_head_gets_no_body():
    """A response to HEAD must not have a body."""
    assert read(grpc_fields(method="HEAD")).refusal == NOT_GRPC_WITHOUT_BODY


@pytest.mark.parametrize(
    ("content_type", "good"),
    [
        ("application/grpc", True),
        ("application/grpc+proto", True),
        ("application/grpc;charset=utf-8", True),
        ("application/grpc-web", False),
        ("application/grpcx", False),
        ("application/json", False),
        ("", False),
    ],
)
def test_the_content_type_tells_grpc(content_type, good):
    """Only content types of the gRPC specification are accepted."""
    fields = [field for field in GRPC if field[0] != "content-type"]
    headers = read([*fields, ("content-type", content_type)])
    assert (headers.handler is check) == good
    assert good or headers.refusal == NOT_GRPC


@pytest.mark.parametrize("path", ["/a.B/C", PATH + "/", PATH + "?x", PATH.lower(), "*", "/"])
def test_another_path_is_unimplemented(path):
    """The whole path is compared."""
    assert grpc_status(read(grpc_fields(path=path))) == "12"


def grpc_status(headers: RequestHeaders) -> str:
    """Return the code in the block of a refusal, which ends with status and message."""
    assert headers.refusal is not None
    _, _, rest = headers.refusal[0].partition(b"grpc-status")
    return rest[1 : 1 + rest[0]].decode()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1S", 1.0),
        ("50m", 0.05),
        ("200000u", 0.2),
        ("1n", 1e-9),
        ("00000001m", 0.001),
        ("1M", MAX_TIMEOUT),
        ("99999999H", MAX_TIMEOUT),
    ],
)
def test_a_timeout_is_honoured_up_to_ours(text, seconds):
    """A client may ask for less time than our limit, not for more."""
    assert read(grpc_fields(("grpc-timeout", text))).timeout == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "1", "S", "1 S", "-1S", "1.5S", "123456789S", "1s", "1h"])
def test_a_malformed_timeout_is_refused(text):
    """A malformed timeout is not replaced by the longest."""
    assert grpc_status(read(grpc_fields(("grpc-timeout", text)))) == "13"


@pytest.mark.parametrize("text", ["0n", "0S", "00000000H"])
def test_a_timeout_of_zero_is_exceeded_at_once(text):
    """The call is refused with DEADLINE_EXCEEDED."""
    assert grpc_status(read(grpc_fields(("grpc-timeout", text)))) == "4"


@given(st.integers(0, 10**18 - 1))
def test_a_content_length_is_kept(length):
    """The length is compared with the body later."""
    assert read(grpc_fields(("content-length", str(length)))).content_length == length


def test_trailers_carry_no_pseudo_fields():
    """Other well-formed trailers are accepted."""
    check_trailers([(b"x", b"y")])
    for bad in ((b":path", b"/"), (b"X", b"y"), (b"connection", b"close")):
        with pytest.raises(MalformedHeaders):
            check_trailers([bad])


def test_no_per_request_field_is_used():
    """Header blocks are remembered without the values of PER_REQUEST fields."""
    assert not PER_REQUEST & {*PSEUDO, *ONCE, *CONNECTION_SPECIFIC, b"te"}
