"""Header blocks: a remembered block has the fields that hpack finds in it."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import hpack
import pytest
from hpack import HPACKError
from hpack.hpack import decode_integer
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.rpc.h2.frames import ConnectionFault, ErrorCode
from authz.rpc.h2.header_blocks import (
    MAX_BLOCK_BYTES,
    PER_REQUEST,
    HeaderBlockDecoder,
    HeaderListTooLong,
    value_spans,
)
from tests.support.h2.encodings import (
    any_blocks,
    blocks_without_table,
    independent_blocks,
    integer,
    literals,
    spoiled,
    string,
    trace_ids,
)

CAPTURED = json.loads((Path(__file__).parents[2] / "vectors/envoy_header_blocks.json").read_text())
TO_ZERO = b"\x20"
ROOM = 64 * 1024

Fields = list[tuple[bytes, bytes]]


def used(fields: Iterable[tuple[bytes, bytes]]) -> Fields:
    """The fields of a header list whose values are used."""
    return [(name, value) for name, value in fields if name not in PER_REQUEST]


class Both:
    """Our decoder and hpack's side by side."""

    def __init__(self) -> None:
        self.decoded = 0  # how often hpack was needed
        self.ours = HeaderBlockDecoder(self._read, ROOM)
        self.theirs = hpack.Decoder(ROOM)

    def _read(self, fields: Iterable[tuple[bytes, bytes]]) -> Fields:
        self.decoded += 1
        return used(fields)

    def decode(self, block: bytes) -> Fields | None:
        """Return our result, None for a refusal, after comparing it with hpack's."""
        try:
            theirs = used(self.theirs.decode(block, raw=True))
        except HPACKError:
            theirs = None
        try:
            ours = self.ours.decode(block)
        except ConnectionFault:
            ours = None
        if ours is not None and theirs is None:  # hpack refuses a value that is not used
            theirs = used_of_independent(block)
        assert ours == theirs
        return ours


def used_of_independent(block: bytes) -> Fields | None:
    """Decode slowly and plainly, without the values of per-request fields."""
    found, at = [], 0
    while at < len(block):
        first = block[at]
        indexed = bool(first & 0x80)
        if first == 0x20:  # the size of the table becomes what it is
            at += 1
            continue
        assert indexed or first < 0x20 or first >= 0x40
        index, size = decode_integer(block[at:], 7 if indexed else 6 if first & 0x40 else 4)
        at += size
        if indexed:
            found.append(HeaderTable.STATIC_TABLE[index - 1])
            continue
        name = HeaderTable.STATIC_TABLE[index - 1][0] if index else None
        if name is None:
            name, at = text_at(block, at)
        if name in PER_REQUEST:
            length, size = decode_integer(block[at:], 7)
            at += size + length
            assert at <= len(block)
        else:
            value, at = text_at(block, at)
            found.append((name, value))
    return used(found)


def text_at(block: bytes, at: int) -> tuple[bytes, int]:
    """Return the string literal at an offset, and its end."""
    length, size = decode_integer(block[at:], 7)
    start = at + size
    text = block[start : start + length]
    assert len(text) == length
    return (decode_huffman(text) if block[at] & 0x80 else text), start + length


@settings(max_examples=300)
@given(st.lists(blocks_without_table, min_size=1, max_size=4), st.data())
def test_without_a_table_a_sequence_of_blocks_reads_as_hpack_reads_it(blocks, data):
    """Repeated, new and spoiled blocks in any order, with inserts and behind size updates."""
    both = Both()
    both.decode(TO_ZERO)
    choices = st.sampled_from(blocks) | blocks_without_table | spoiled(st.sampled_from(blocks))
    for block in data.draw(st.lists(choices, min_size=1, max_size=12)):
        if too_many_updates(block) or both.decode(block) is None:
            break


@settings(max_examples=300)
@given(st.lists(any_blocks() | spoiled(any_blocks()) | independent_blocks, max_size=8))
def test_with_a_table_a_sequence_of_blocks_reads_as_hpack_reads_it(blocks):
    """Inserts, references, size updates and garbage never make memory wrong."""
    both = Both()
    for block in (*blocks, *blocks):
        if too_many_updates(block) or both.decode(block) is None:
            break


def too_many_updates(block: bytes) -> bool:
    """Return whether a block begins with more than the two size updates of an encoder."""
    at = count = 0
    while at < len(block) and block[at] & 0xE0 == 0x20:
        try:
            at += decode_integer(block[at:], 5)[1]
        except HPACKError:
            return False
        count += 1
    return count > 2


@settings(max_examples=200)
@given(
    st.lists(literals(), max_size=3),
    st.lists(st.tuples(st.sampled_from(sorted(PER_REQUEST)), trace_ids), min_size=1, max_size=3),
    st.lists(literals(), max_size=3),
    st.data(),
)
def test_a_pattern_takes_other_values_in_its_gaps_and_nothing_else(before, gaps, after, data):
    """Hostile gaps: lengths that lie, other fields, strings that are not Huffman code.

    A block that hpack refuses is accepted only if the value in a gap is the reason.
    """
    both = Both()
    both.decode(TO_ZERO)
    spelled = [b"\0" + string(name, huffman=True) for name, _ in gaps]
    learned = [string(value, data.draw(st.booleans())) for _, value in gaps]
    both.decode(joined(before, spelled, learned, after))
    for _ in range(5):
        fresh = [data.draw(gap_contents) for _ in gaps]
        if both.decode(joined(before, spelled, fresh, after)) is None:
            break


gap_contents = st.one_of(
    st.builds(string, trace_ids, st.booleans()),
    st.builds(string, st.binary(max_size=300), st.just(value=False)),
    st.binary(max_size=80).map(lambda coded: integer(len(coded), 7, 0x80) + coded),
    st.builds(lambda length, text: bytes([length]) + text, st.integers(0, 255), st.binary()),
    st.binary(max_size=4),
)


def joined(
    before: Sequence[bytes],
    spelled: Sequence[bytes],
    values: Sequence[bytes],
    after: Sequence[bytes],
) -> bytes:
    """Return a block with the values behind their names."""
    fields = [name + value for name, value in zip(spelled, values, strict=True)]
    return b"".join([*before, *fields, *after])


@pytest.mark.parametrize("name", CAPTURED)
def test_what_a_proxy_sends_is_read_as_hpack_reads_it(name):
    """Blocks of Envoy, with and without a tracer, with and without a table."""
    both = Both()
    for text in CAPTURED[name]:
        assert both.decode(bytes.fromhex(text))


@pytest.mark.parametrize("name", [name for name in CAPTURED if "dynamic" not in name])
def test_what_a_proxy_repeats_is_decoded_once(name):
    """The first block fills the table, the second empties it, the third is remembered."""
    both = Both()
    for text in CAPTURED[name]:
        both.decode(bytes.fromhex(text))
    assert both.decoded == 3


def test_with_a_table_a_block_that_uses_it_is_decoded_each_time():
    """A block that does not use the table is remembered until the size of the table changes."""
    both, plain, insert = Both(), literal(b"x", b"y"), b"\x40\x01x\x01y"
    for block, decoded in (
        *((plain, 1), (plain, 1), (insert, 2), (insert, 3), (b"\xbe", 4), (b"\xbe", 5), (plain, 5)),
        *((TO_ZERO, 6), (plain, 7), (plain, 7), (insert, 8), (insert, 8), (plain, 8)),
        *((b"\x3f\xe1\x1f", 9), (plain, 10), (insert, 11), (insert, 12), (plain, 12)),
    ):
        both.decode(block)
        assert both.decoded == decoded, block


@pytest.mark.parametrize("updates", [1, 2, 12])
@pytest.mark.parametrize("field", [b"\0\x01x\x01y", b"\x40\x01x\x01y"])
def test_a_block_behind_size_updates_is_remembered_like_any_other(updates, field):
    """A client that updates the size of its table in each block makes no call dearer."""
    both = Both()
    both.decode(TO_ZERO)
    for _ in range(3):
        both.decode(TO_ZERO * updates + field)
        both.decode(field)
    assert both.decoded == 2  # the first update, and one block


def test_a_pattern_behind_size_updates_is_remembered_like_any_other():
    """A trace that changes with each call makes no difference."""
    both = Both()
    both.decode(TO_ZERO)
    for number in range(3):
        both.decode(TO_ZERO + literal(b"traceparent", b"%d" % number))
        both.decode(literal(b"traceparent", b"%d" % number))
    assert both.decoded == 2


@pytest.mark.parametrize("use", [b"\x40\x01x\x01y", b"\xbe"])
def test_a_client_that_uses_a_refused_table_is_disconnected(use):
    """RFC 9113 4.3.1: after its acknowledgement the client has to shrink the table first."""
    blocks = HeaderBlockDecoder(list, ROOM)
    blocks.decode(b"\x40\x01x\x01y")
    blocks.acknowledged = True
    assert blocks.decode(literal(b"x", b"z")) == [(b"x", b"z")]
    with pytest.raises(ConnectionFault) as refused:
        blocks.decode(use)
    assert refused.value.code is ErrorCode.COMPRESSION_ERROR


def test_a_gap_may_be_long():
    """Up to 254 bytes of trace state do not make a block unknown."""
    both = Both()
    both.decode(TO_ZERO)
    for size in (1, 126, 127, 128, 254, 0):
        both.decode(b"\0" + string(b"tracestate", huffman=False) + string(b"a" * size, False))
    assert both.decoded == 2  # the size update, and one block


def test_a_longer_value_is_no_gap():
    """A longer value of trace state is decoded each time it differs."""
    both = Both()
    both.decode(TO_ZERO)
    for letter in (b"a", b"b", b"a"):
        both.decode(b"\0" + string(b"tracestate", huffman=False) + string(letter * 255, False))
    assert both.decoded == 3


def test_memory_is_bounded_and_heals():
    """Many different blocks replace remembered ones, and a usual block is remembered again."""
    both = Both()
    both.decode(TO_ZERO)
    usual = literal(b"x", b"usual")
    for number in range(1000):
        both.decode(literal(b"x", b"%d" % number))
        both.decode(literal(b"traceparent", b"t") + literal(b"y", b"%d" % number))
    assert len(both.ours._known) <= 16
    assert len(both.ours._patterns) <= 4
    both.decode(usual)
    before = both.decoded
    both.decode(usual)
    assert both.decoded == before


def literal(name: bytes, value: bytes) -> bytes:
    """Return a plain literal field."""
    return b"\0" + string(name, huffman=False) + string(value, huffman=False)


def test_a_long_block_is_not_remembered():
    """A block over MAX_BLOCK_BYTES is decoded each time."""
    both = Both()
    both.decode(TO_ZERO)
    long = literal(b"x", b"a" * MAX_BLOCK_BYTES)
    both.decode(long)
    both.decode(long)
    assert both.decoded == 3


@pytest.mark.parametrize(
    "updates", [b"\x20" * 13, b"\x3f\xe1\x1f" * 5, b"\x3f\x80\x80\x80\x00" * 3]
)
def test_a_flood_of_size_updates_is_refused(updates):
    """Each update costs a microsecond a byte, and an encoder needs at most two."""
    blocks = HeaderBlockDecoder(list, ROOM)
    with pytest.raises(ConnectionFault) as refused:
        blocks.decode(updates)
    assert refused.value.code is ErrorCode.COMPRESSION_ERROR


@pytest.mark.parametrize("update", [b"\x21", b"\x3f\x00", b"\x3f\xe1\x1f", b"\x20\x3f\xe1\x1f"])
def test_a_refused_table_size_is_an_error(update):
    """After the client has acknowledged size 0, a larger size is an error."""
    block = update + literal(b"x", b"y")
    blocks = HeaderBlockDecoder(list, ROOM)
    assert blocks.decode(block) == [(b"x", b"y")]
    blocks.acknowledged = True
    with pytest.raises(ConnectionFault) as refused:
        blocks.decode(block)
    assert refused.value.code is ErrorCode.COMPRESSION_ERROR
    assert blocks.decode(TO_ZERO + literal(b"x", b"y")) == [(b"x", b"y")]


def test_a_list_that_inflates_ends_the_connection():
    """References to one large entry turn a few bytes into megabytes."""
    bomb = b"\x40" + string(b"x", huffman=False) + string(b"a" * 3000, huffman=False)
    bomb += integer(62, 7, 0x80) * 1000
    with pytest.raises(ConnectionFault) as refused:
        HeaderBlockDecoder(list, 16 * 1024).decode(bomb)
    assert refused.value.code is ErrorCode.ENHANCE_YOUR_CALM


def test_without_a_table_a_list_that_is_too_long_harms_no_other():
    """The block is refused alone, and the next one is decoded."""
    blocks = HeaderBlockDecoder(list, 1024)
    blocks.decode(TO_ZERO)
    with pytest.raises(HeaderListTooLong):
        blocks.decode(literal(b"x", b"a" * 600) * 2)
    assert blocks.decode(literal(b"x", b"y")) == [(b"x", b"y")]


@given(independent_blocks)
def test_values_stand_where_hpack_finds_them(block):
    """The span of a literal holds the value that hpack finds."""
    fields = hpack.Decoder(ROOM).decode(block, raw=True)
    spans = value_spans(block, inserts=False)
    assert spans is not None
    for (_, value), span in zip(fields, spans, strict=True):
        if span is not None:
            assert text_at(block, span[0]) == (value, span[1])


@given(any_blocks())
def test_what_touches_the_table_has_no_spans(block):
    """A block that uses or changes the table is not remembered."""
    try:
        hpack.Decoder(ROOM).decode(block, raw=True)
    except HPACKError:
        return
    touches = touches_table(block)
    assert (value_spans(block, inserts=False) is None) == touches


@pytest.mark.parametrize("block", [b"\xbe", b"\x0f\x2f\x01x", b"\x40\x01x\x01y", b"\x20\x82"])
def test_what_stands_in_the_table_has_no_span(block):
    """References to an entry, to an entry's name, inserts and size updates have no span."""
    assert value_spans(b"\x82" + block, inserts=False) is None


@pytest.mark.parametrize("cut", [b"\x7f", b"\x7f\x80\x01", b"\x7f\x01", b"\x02a", b""])
def test_a_gap_that_ends_early_is_no_gap(cut):
    """A truncated value in a gap is refused, as by hpack."""
    both, name = Both(), b"\0" + string(b"tracestate", huffman=False)
    both.decode(TO_ZERO)
    both.decode(name + b"\x01a")
    assert both.decode(name + cut) is None


def touches_table(block: bytes) -> bool:
    """Return whether a block that hpack accepts refers to the dynamic table or changes it."""
    at = 0
    while at < len(block):
        first = block[at]
        if first & 0x80:
            index, size = decode_integer(block[at:], 7)
            if index > 61:
                return True
            at += size
        elif first & 0x60:
            return True
        else:
            index, size = decode_integer(block[at:], 4)
            at += size
            if index > 61:
                return True
            if index == 0:
                _, at = text_at(block, at)
            _, at = text_at(block, at)
    return False
