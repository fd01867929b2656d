"""What is sent back, byte by byte."""

from urllib.parse import unquote

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.rpc.h2.answers import (
    COMPRESSED,
    MESSAGE_TOO_LARGE,
    NOT_GRPC,
    NOT_GRPC_WITHOUT_BODY,
    NOT_ONE_MESSAGE,
    TRUNCATED,
    GrpcCode,
    Status,
    message_answer,
    percent_encoded,
    refused_early,
    status_answer,
    unframed,
)
from tests.support.h2.client import framed

LIMIT = 100
statuses = st.builds(Status, st.sampled_from(GrpcCode), st.text(max_size=300))


@given(st.binary(max_size=500))
def test_a_message_goes_out_with_status_ok(message):
    """Headers, one framed message, trailers; no part of it touches a table."""
    head, body, trailers = message_answer(message)
    decoder = hpack.Decoder()
    assert decoder.decode(head) == [(":status", "200"), ("content-type", "application/grpc")]
    assert body == framed(message)
    assert decoder.decode(trailers) == [("grpc-status", "0")]
    assert not decoder.header_table.dynamic_entries


@given(statuses)
def test_a_status_goes_out_alone(status):
    """Trailers-only: one header block says everything."""
    head, body, trailers = status_answer(status)
    assert (body, trailers) == (b"", b"")
    assert hpack.Decoder().decode(head) == [
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("grpc-status", str(status.code.value)),
        ("grpc-message", percent_encoded(status.message).decode()),
    ]


def test_who_compresses_is_told_what_is_understood():
    """As the protocol wants it."""
    head, _, _ = status_answer(COMPRESSED)
    fields = hpack.Decoder().decode(head)
    assert ("grpc-accept-encoding", "identity") in fields


@given(st.text())
def test_a_message_of_a_status_is_printable_and_comes_back(text):
    """Percent-encoded UTF-8: nothing in it can end a header."""
    encoded = percent_encoded(text)
    assert all(0x20 <= byte < 0x7F for byte in encoded)
    assert unquote(encoded.decode()) == text


def test_plain_text_has_its_length():
    """What curl shows to somebody who tries the port."""
    head, body, _ = NOT_GRPC
    fields = dict(hpack.Decoder().decode(head))
    assert (fields[":status"], fields["content-length"]) == ("415", str(len(body)))
    assert b"application/grpc" in body
    assert (head, b"", b"") == NOT_GRPC_WITHOUT_BODY


def one_message(body: bytes) -> bytes | Status:
    """The law, said slowly."""
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
def test_a_body_is_one_message_or_says_what_it_is(body):
    """Framing, as a model has it."""
    assert unframed(body, LIMIT) == one_message(body)


@given(bodies, st.integers(0, 200))
def test_what_is_refused_early_could_not_have_become_a_message(body, size):
    """And what is one is never refused before its end."""
    whole, early = unframed(body, LIMIT), refused_early(body[:size], LIMIT)
    if isinstance(whole, bytes):
        assert early is None
    if early is not None:
        assert whole == early


@pytest.mark.parametrize("code", GrpcCode)
def test_codes_are_those_of_grpc(code):
    """The numbers are the protocol's."""
    import grpc

    assert getattr(grpc.StatusCode, code.name).value[0] == code.value
