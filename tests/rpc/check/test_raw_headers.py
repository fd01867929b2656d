"""The raw form of headers: what the first pass over the bytes finds is what the messages say."""

import pytest
from envoy.config.core.v3.base_pb2 import HeaderValue
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st

from authz.rpc.check.raw_headers import RawHeaders

NAMES = ["origin", "x-origin", "x", "authorization"]
TEXT = st.sampled_from([*NAMES, "", "\n\x06origin", "a,b", "origin" * 3])
ENTRIES = st.lists(st.tuples(TEXT, TEXT, st.booleans()), max_size=8)


def serialised(entries: list[tuple[str, str, bool]]) -> list[bytes]:
    """Each entry as Envoy writes it. The value stands in `raw_value` or in `value`."""
    fields = ("value", "raw_value")
    return [
        HeaderValue(key=key, **{fields[raw]: value.encode() if raw else value}).SerializeToString()
        for key, value, raw in entries
    ]


@given(ENTRIES)
@example([("x", "origin", True), ("origin", "v", True)])
@example([("origin", "origin", True), ("origin", "", True)])
def test_headers_are_found_by_their_names_alone(entries):
    """A name that stands in a value, or in a longer name, is not the header."""
    headers = RawHeaders(serialised(entries))
    assert len(headers) == len(entries)
    for name in NAMES:
        values = [value.encode() for key, value, _ in entries if key == name]
        assert (name in headers) is bool(values)
        assert headers[name] == b",".join(values)


def test_a_name_that_is_written_twice_is_the_last_one():
    """Protobuf reads the last of a repeated field."""
    first, second = serialised([("origin", "", True), ("x", "v", True)])
    headers = RawHeaders([first + second])
    assert "origin" not in headers
    assert headers["x"] == b"v"


def test_an_entry_that_is_no_message_is_an_error_for_the_names_in_it():
    """Nobody may take a header that cannot be read for one that is absent."""
    headers = RawHeaders([b"\x0a\x7forigin", *serialised([("x-other", "v", True)])])
    assert headers["x-other"] == b"v"
    for _ in range(2):
        with pytest.raises(DecodeError):
            _ = "origin" in headers
