"""Responses, byte by byte."""

import base64
from urllib.parse import unquote

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.rpc.h2.responses import (
    COMPRESSED,
    MESSAGE_TOO_LARGE,
    NOT_GRPC,
    NOT_GRPC_WITHOUT_BODY,
    NOT_ONE_MESSAGE,
    TRUNCATED,
    GrpcCode,
    GrpcStatus,
    early_refusal,
    message_response,
    percent_encoded,
    status_response,
    unframe_message,
)
from tests.support.h2.client import framed

LIMIT = 100
statuses = st.builds(GrpcStatus, st.sampled_from(GrpcCode), st.text(max_size=300))


@given(st.binary(max_size=500))
def test_a_message_goes_out_with_status_ok(message):
    """Headers, one framed message and trailers; no part uses a header table."""
    head, body, trailers = message_response(message)
    decoder = hpack.Decoder()
    assert decoder.decode(head) == [(":status", "200"), ("content-type", "application/grpc")]
    assert body == framed(message)
    assert decoder.decode(trailers) == [("grpc-status", "0")]
    assert not decoder.header_table.dynamic_entries


@given(statuses)
def test_a_status_goes_out_alone(status):
    """One header block carries the status, its message and its details."""
    head, body, trailers = status_response(status)
    assert (body, trailers) == (b"", b"")
    details = base64.b64encode(status.details).decode().rstrip("=")
    assert hpack.Decoder().decode(head) == [
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("grpc-status", str(status.code.value)),
        ("grpc-message", percent_encoded(status.message).decode()),
        *([("grpc-status-details-bin", details)] if details else []),
    ]


def test_a_compressed_message_is_refused_with_the_accepted_encodings():
    """gRPC's specification asks for grpc-accept-encoding in this refusal."""
    head, _, _ = status_response(COMPRESSED)
    fields = hpack.Decoder().decode(head)
    assert ("grpc-accept-encoding", "identity") in fields


@given(st.text())
def test_a_message_of_a_status_is_printable_and_comes_back(text):
    """Percent-encoded UTF-8 cannot end a header, and decodes to the same text."""
    encoded = percent_encoded(text)
    assert all(0x20 <= byte < 0x7F for byte in encoded)
    assert unquote(encoded.decode()) == text


def test_plain_text_has_its_length():
    """curl prints this text to a person who tries the port."""
    head, body, _ = NOT_GRPC
    fields = dict(hpack.Decoder().decode(head))
    assert (fields[":status"], fields["content-length"]) == ("415", str(len(body)))
    assert b"application/grpc" in body
    assert (head, b"", b"") == NOT_GRPC_WITHOUT_BODY


def one_message(body: bytes) -> bytes | GrpcStatus:
    """Model of the framing."""
    if not body:
        return NOT_ONE_MESSAGE
    if body[0]:
        return COMPRESSED
    if len(body) < 5:
        return TRUNCATED
    length, rest = int.from_bytes(body[1:5]), body[5:]
    if length > LIMIT:
        return MESSAGE_TOO_LARGE
    if len(rest) < length:
        return TRUNCATED
    return rest if len(rest) == length else NOT_ONE_MESSAGE


bodies = st.one_of(
    st.binary(max_size=8),
    st.builds(framed, st.binary(max_size=LIMIT + 2), st.sampled_from([0, 0, 0, 1, 255])),
    st.builds(
        lambda length, rest: b"\0" + length.to_bytes(4) + rest,
        st.integers(0, LIMIT + 2) | st.just(2**32 - 1),
        st.binary(max_size=LIMIT),
    ),
)


@given(bodies)
def test_a_body_is_one_message_or_a_status(body):
    """The framing agrees with a model."""
    assert unframe_message(body, LIMIT) == one_message(body)


@given(bodies, st.integers(0, 200))
def test_an_early_refusal_is_final(body, size):
    """A refused beginning never becomes one message, and a valid one is not refused."""
    whole, early = unframe_message(body, LIMIT), early_refusal(body[:size], LIMIT)
    if isinstance(whole, bytes):
        assert early is None
    if early is not None:
        assert whole == early


@pytest.mark.parametrize("code", GrpcCode)
def test_codes_are_those_of_grpc(code):
    """The numbers are those of the gRPC specification."""
    import grpc

    assert getattr(grpc.StatusCode, code.name).value[0] == code.value
