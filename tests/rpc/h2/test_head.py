"""What header fields ask for: HTTP's rules first, then gRPC's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.rpc.h2.answers import NOT_GRPC, NOT_GRPC_WITHOUT_BODY
from authz.rpc.h2.blocks import PER_REQUEST
from authz.rpc.h2.head import (
    CONNECTION_SPECIFIC,
    LONGEST,
    ONCE,
    PSEUDO,
    Head,
    Malformed,
    check_trailers,
    read_head,
)
from tests.support.h2.client import GRPC, PATH, grpc_fields


def check(message: bytes) -> bytes:
    """A route."""
    return message


def read(fields) -> Head:
    """The head of fields given as text."""
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]
    return read_head({PATH.encode(): check}, raw)


def test_a_call_finds_its_route():
    """Nothing refuses it, and it may take as long as any."""
    assert read(GRPC) == Head(check, None, LONGEST, None)


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
    """A stream error of its own, as RFC 9113 has it."""
    with pytest.raises(Malformed):
        read(fields)


@pytest.mark.parametrize("fields", [grpc_fields(), grpc_fields(authority="")])
def test_a_host_is_fine_that_says_no_other_than_the_authority(fields):
    """RFC 9113 asks for no more than that the two agree."""
    assert read([*fields, ("host", "AUTHZ")]).route is check


@pytest.mark.parametrize("method", ["GET", "PUT", "get", "CONNECT"])
def test_a_method_that_is_not_post_is_not_grpc(method):
    """415, with a body that says why."""
    assert read(grpc_fields(method=method)).refusal == NOT_GRPC


def test_connect_needs_neither_scheme_nor_path():
    """It is well-formed, and not for us."""
    fields = [(":method", "CONNECT"), (":authority", "a:1"), ("content-type", "application/grpc")]
    assert read(fields).refusal == NOT_GRPC


def test_head_gets_no_body():
    """HTTP says so."""
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
    """Only what the protocol's text allows."""
    fields = [field for field in GRPC if field[0] != "content-type"]
    head = read([*fields, ("content-type", content_type)])
    assert (head.route is check) == good
    assert good or head.refusal == NOT_GRPC


@pytest.mark.parametrize("path", ["/a.B/C", PATH + "/", PATH + "?x", PATH.lower(), "*", "/"])
def test_another_path_is_unimplemented(path):
    """The path is compared whole."""
    assert grpc_status(read(grpc_fields(path=path))) == "12"


def grpc_status(head: Head) -> str:
    """The code in the block of a refusal, which ends with status and message."""
    assert head.refusal is not None
    _, _, rest = head.refusal[0].partition(b"grpc-status")
    return rest[1 : 1 + rest[0]].decode()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1S", 1.0),
        ("50m", 0.05),
        ("200000u", 0.2),
        ("1n", 1e-9),
        ("00000001m", 0.001),
        ("1M", LONGEST),
        ("99999999H", LONGEST),
    ],
)
def test_a_timeout_is_honoured_up_to_ours(text, seconds):
    """A client may ask for less than we allow, not for more."""
    assert read(grpc_fields(("grpc-timeout", text))).timeout == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "1", "S", "1 S", "-1S", "1.5S", "123456789S", "1s", "1h"])
def test_a_timeout_that_is_none_is_refused(text):
    """Rather than taken for the longest."""
    assert grpc_status(read(grpc_fields(("grpc-timeout", text)))) == "13"


@pytest.mark.parametrize("text", ["0n", "0S", "00000000H"])
def test_no_time_at_all_is_exceeded_at_once(text):
    """DEADLINE_EXCEEDED."""
    assert grpc_status(read(grpc_fields(("grpc-timeout", text)))) == "4"


@given(st.integers(0, 10**18 - 1))
def test_a_content_length_is_kept(length):
    """It is compared with what comes."""
    assert read(grpc_fields(("content-length", str(length)))).content_length == length


def test_trailers_carry_no_pseudo_fields():
    """Others are well-formed and mean nothing."""
    check_trailers([(b"x", b"y")])
    for bad in ((b":path", b"/"), (b"X", b"y"), (b"connection", b"close")):
        with pytest.raises(Malformed):
            check_trailers([bad])


def test_nothing_that_is_read_differs_from_request_to_request():
    """Header blocks are remembered without the values of PER_REQUEST fields."""
    assert not PER_REQUEST & {*PSEUDO, *ONCE, *CONNECTION_SPECIFIC, b"te"}
