"""The traceparent of a call is found in its header block, as hpack would find it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.rpc.h2 import traceparent
from authz.rpc.h2.traceparent import NOT_SAMPLED
from tests.bench.load import encoded
from tests.support.h2.encodings import integer, string

HEX = "0123456789abcdef"
texts = st.builds(
    "00-{}-{}-{}".format,
    st.text(HEX, min_size=32, max_size=32),
    st.text(HEX, min_size=16, max_size=16),
    st.text(HEX, min_size=2, max_size=2),
).map(str.encode)


def block(value: bytes, *, huffman: bool) -> bytes:
    """A header block with fields before and behind the traceparent."""
    field = string(b"traceparent", huffman=huffman) + string(value, huffman=huffman)
    return encoded(b"x-a", b"b") + integer(0, 4, 0) + field + encoded(b"x-c", b"d")


@given(texts)
def test_a_traceparent_is_found(value: bytes) -> None:
    """Plain or Huffman-coded; one that is not sampled is found as NOT_SAMPLED."""
    assert traceparent.find(block(value, huffman=False)) == value
    found = traceparent.find(block(value, huffman=True))
    assert found == (NOT_SAMPLED if value.endswith(b"-00") else value)


@given(st.binary(max_size=120))
def test_any_value_is_found_or_none(value: bytes) -> None:
    """A hostile value raises no exception."""
    assert traceparent.find(block(value, huffman=False)) in {value, None}
    found = traceparent.find(block(value, huffman=True))
    assert found in {value, NOT_SAMPLED, None}


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_a_truncated_or_garbled_block_raises_nothing(before: bytes, after: bytes) -> None:
    """The block may end where the value should begin."""
    for name in (string(b"traceparent", huffman=True), string(b"traceparent", huffman=False)):
        traceparent.find(before + name + after)


@pytest.mark.parametrize("huffman", [True, False])
def test_without_one_there_is_none(huffman: bool) -> None:
    """An empty block, an empty value and an overlong value give None."""
    assert traceparent.find(b"") is None
    assert traceparent.find(encoded(b"tracestate", b"a=b")) is None
    assert traceparent.find(block(b"", huffman=huffman)) is None
    assert traceparent.find(block(b"x" * 500, huffman=huffman)) is None
