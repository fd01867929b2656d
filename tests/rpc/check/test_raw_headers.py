"""The raw form of headers: what is found in their bytes is what the messages say."""

import pytest
from envoy.config.core.v3.base_pb2 import HeaderMap, HeaderValue
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st

from authz.rpc.check.raw_headers import RawHeaders
from authz.rpc.check.wire import field, varint

NAMES = ["origin", "x-origin", "x", "authorization"]
PAIRS = [(name, name.encode()) for name in NAMES]
# Values of every length of a length, and some that look like the beginning of an entry.
SIZES = [0, 6, 10, 110, 118, 127, 128, 200, 1290, 16_500]
TEXT = st.sampled_from(
    [*NAMES, "", "\n\x06origin", "\n\n\n\x06origin\x12\x01v", "a,b", "origin" * 3]
)
VALUES = TEXT | st.builds(lambda size, end: "v" * size + end, st.sampled_from(SIZES), TEXT)
ENTRIES = st.lists(st.tuples(TEXT, VALUES, st.booleans()), max_size=8)
UNKNOWN = {
    "a number": b"\x10\x96\x01",
    "a text": field(2, b"\x0a\x08\x0a\x06origin"),
    "four bytes": b"\x1d\x0a\x03\x0a\x01",
    "eight bytes": b"\x19\x0a\x03\x0a\x01\x0a\x03\x0a\x01",
}


def entry(key: str, value: str, *, is_raw: bool = True) -> bytes:
    """A HeaderValue as Envoy writes it."""
    text = {"raw_value": value.encode()} if is_raw else {"value": value}
    return HeaderValue(key=key, **text).SerializeToString()


def header_map(*entries: bytes) -> bytes:
    """The HeaderMap with these entries."""
    return b"".join(field(1, one) for one in entries)


def values(entries: list[tuple[str, str, bool]], name: str) -> list[bytes]:
    """The values of the headers of this name."""
    return [value.encode() for key, value, _ in entries if key == name]


@given(ENTRIES)
@example([("x", "origin", True), ("origin", "v", True)])
@example([("origin", "origin", True), ("origin", "", True)])
@example([("a", "\n\x06origin\x1a\x01v", True)])
def test_headers_are_found_by_their_names_alone(entries):
    """A name that stands in a value, in a length, or in a longer name, is not the header."""
    serialised = header_map(*(entry(key, text, is_raw=raw) for key, text, raw in entries))
    assert len(HeaderMap.FromString(serialised).headers) == len(entries)
    headers = RawHeaders(serialised)
    for name in NAMES:
        found = values(entries, name)
        assert (name in headers) is bool(found)
        assert headers[name] == b",".join(found)
    there = {name: b",".join(values(entries, name)) for name in NAMES if values(entries, name)}
    assert headers.pick(PAIRS) == there
    for number in range(len(entries) + 2):
        assert headers.exceed(number) is (len(entries) > number)


@pytest.mark.parametrize("unknown", UNKNOWN.values(), ids=UNKNOWN)
@pytest.mark.parametrize("place", range(4))
def test_other_fields_of_a_later_envoy_do_not_matter(place, unknown):
    """Headers are found whatever other field stands between them."""
    parts = [
        field(1, entry("a", "1")),
        field(1, entry("origin", "2")),
        field(1, entry("origin", "3")),
    ]
    parts.insert(place, unknown)
    headers = RawHeaders(b"".join(parts))
    assert headers["origin"] == b"2,3"
    assert "x-origin" not in headers
    assert headers.exceed(2)
    assert not headers.exceed(3)


def test_a_length_of_more_bytes_than_needed_is_a_length():
    """Protobuf reads it."""
    one = entry("origin", "v")
    assert RawHeaders(b"\x0a" + bytes((len(one) | 0x80, 0x80, 0)) + one)["origin"] == b"v"


def test_a_name_that_is_written_twice_is_the_last_one():
    """Protobuf reads the last of a repeated field."""
    headers = RawHeaders(header_map(entry("origin", "") + entry("x", "v")))
    assert "origin" not in headers
    assert headers["x"] == b"v"


@pytest.mark.parametrize(
    "damaged",
    [
        header_map(b"\x0a\x7forigin", entry("x-other", "v")),  # no HeaderValue
        header_map(entry("origin", "v"))[:-1],
        header_map(entry("a", "v")) + b"\x0a\x7f" + entry("origin", "v"),
        b"\x0a" + varint(2**35) + entry("origin", "v"),
        b"\x0a\xff\xff\xff\xff\xff\xff" + entry("origin", "v"),
        b"\x07" + header_map(entry("origin", "v")),  # a wire type that does not exist
    ],
)
def test_an_entry_that_cannot_be_read_is_an_error_for_the_names_in_it(damaged):
    """Nobody may take a header that cannot be read for one that is absent."""
    headers = RawHeaders(damaged)
    for ask in (
        lambda: "origin" in headers,
        lambda: headers["origin"],
        lambda: headers.pick(PAIRS),
    ):
        with pytest.raises(DecodeError):
            ask()
    assert "x-api-key" not in headers


def test_headers_that_cannot_be_counted_are_an_error():
    """Headers that cannot be counted are refused, because they could be too many."""
    with pytest.raises(DecodeError):
        RawHeaders(b"\x0a\x00" * 10 + b"\x0a").exceed(10)
