"""Header blocks: whatever is remembered, nobody sees other fields than hpack finds."""

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

from authz.rpc.h2.blocks import LONGEST_BLOCK, PER_REQUEST, HeaderBlocks, TooLong, value_spans
from authz.rpc.h2.frames import Code, ConnectionFault
from tests.support.h2.encodings import (
    any_blocks,
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
    """The part of a header list that anybody reads."""
    return [(name, value) for name, value in fields if name not in PER_REQUEST]


class Both:
    """HeaderBlocks and hpack's decoder side by side."""

    def __init__(self) -> None:
        self.asked = 0  # how often the full decoder was needed
        self.ours = HeaderBlocks(self._read, ROOM)
        self.theirs = hpack.Decoder(ROOM)

    def _read(self, fields: Iterable[tuple[bytes, bytes]]) -> Fields:
        self.asked += 1
        return used(fields)

    def decode(self, block: bytes) -> Fields | None:
        """What ours says, None for a refusal, after it was compared."""
        try:
            theirs = used(self.theirs.decode(block, raw=True))
        except HPACKError:
            theirs = None
        try:
            ours = self.ours.decode(block)
        except ConnectionFault:
            ours = None
        if ours is not None and theirs is None:  # then hpack minds what nobody reads
            theirs = used_of_independent(block)
        assert ours == theirs
        return ours


def used_of_independent(block: bytes) -> Fields | None:
    """Decode the slow and obvious way, without looking at the values of per-request fields."""
    found, at = [], 0
    while at < len(block):
        first = block[at]
        indexed = bool(first & 0x80)
        assert indexed or first < 0x20
        index, size = decode_integer(block[at:], 7 if indexed else 4)
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
    """The string literal that stands there, and where it ends."""
    length, size = decode_integer(block[at:], 7)
    start = at + size
    text = block[start : start + length]
    assert len(text) == length
    return (decode_huffman(text) if block[at] & 0x80 else text), start + length


@settings(max_examples=300)
@given(st.lists(independent_blocks, min_size=1, max_size=4), st.data())
def test_without_a_table_a_sequence_of_blocks_reads_as_hpack_reads_it(blocks, data):
    """Repeated, new and spoiled blocks in any order."""
    both = Both()
    both.decode(TO_ZERO)
    choices = st.sampled_from(blocks) | independent_blocks | spoiled(st.sampled_from(blocks))
    for block in data.draw(st.lists(choices, min_size=1, max_size=12)):
        if both.decode(block) is None:
            break


@settings(max_examples=300)
@given(st.lists(any_blocks() | spoiled(any_blocks()) | independent_blocks, max_size=8))
def test_with_a_table_a_sequence_of_blocks_reads_as_hpack_reads_it(blocks):
    """Inserts, references, size updates and nonsense: nothing is taken from memory wrongly."""
    both = Both()
    for block in (*blocks, *blocks):
        if too_many_updates(block) or both.decode(block) is None:
            break


def too_many_updates(block: bytes) -> bool:
    """Does a block begin with more than the two size updates that an encoder may need?"""
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
def test_a_pattern_takes_other_values_in_its_holes_and_nothing_else(before, holes, after, data):
    """Hostile contents of a hole: lengths that lie, other fields, strings that are no Huffman code.

    What hpack refuses is taken only when all it minds is the value in a hole.
    """
    both = Both()
    both.decode(TO_ZERO)
    spelled = [b"\0" + string(name, huffman=True) for name, _ in holes]
    learned = [string(value, data.draw(st.booleans())) for _, value in holes]
    both.decode(joined(before, spelled, learned, after))
    for _ in range(5):
        fresh = [data.draw(hole_contents) for _ in holes]
        if both.decode(joined(before, spelled, fresh, after)) is None:
            break


hole_contents = st.one_of(
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
    """A block with values put behind names."""
    fields = [name + value for name, value in zip(spelled, values, strict=True)]
    return b"".join([*before, *fields, *after])


@pytest.mark.parametrize("name", CAPTURED)
def test_what_a_proxy_sends_is_read_as_hpack_reads_it(name):
    """Blocks that Envoy sent, with a tracer and without one, with a table and without one."""
    both = Both()
    for text in CAPTURED[name]:
        assert both.decode(bytes.fromhex(text))


@pytest.mark.parametrize("name", [name for name in CAPTURED if "dynamic" not in name])
def test_what_a_proxy_repeats_is_decoded_once(name):
    """The first block fills the table, the second empties it, the third is remembered."""
    both = Both()
    for text in CAPTURED[name]:
        both.decode(bytes.fromhex(text))
    assert both.asked == 3


def test_as_long_as_there_is_a_table_every_block_is_decoded():
    """Whether it uses the table or not; and what was seen then is not remembered later."""
    both, block = Both(), literal(b"x", b"y")
    for number in range(1, 4):
        both.decode(block)
        assert both.asked == number
    both.decode(TO_ZERO)
    both.decode(block)
    assert both.asked == 5
    both.decode(block)
    assert both.asked == 5
    both.decode(b"\x3f\xe1\x1f")  # the table is back
    both.decode(block)
    assert both.asked == 7


def test_a_hole_may_be_long():
    """Up to 254 bytes of trace state do not make a block unknown."""
    both = Both()
    both.decode(TO_ZERO)
    for size in (1, 126, 127, 128, 254, 0):
        both.decode(b"\0" + string(b"tracestate", huffman=False) + string(b"a" * size, False))
    assert both.asked == 2  # the size update, and one block


def test_a_longer_value_is_no_hole():
    """It is decoded, every time it differs."""
    both = Both()
    both.decode(TO_ZERO)
    for letter in (b"a", b"b", b"a"):
        both.decode(b"\0" + string(b"tracestate", huffman=False) + string(letter * 255, False))
    assert both.asked == 3


def test_memory_is_bounded_and_heals():
    """Many different blocks push out what was remembered, and it is learned again."""
    both = Both()
    both.decode(TO_ZERO)
    usual = literal(b"x", b"usual")
    for number in range(1000):
        both.decode(literal(b"x", b"%d" % number))
        both.decode(literal(b"traceparent", b"t") + literal(b"y", b"%d" % number))
    assert len(both.ours._known) <= 16
    assert len(both.ours._patterns) <= 4
    both.decode(usual)
    before = both.asked
    both.decode(usual)
    assert both.asked == before


def literal(name: bytes, value: bytes) -> bytes:
    """A plain literal field."""
    return b"\0" + string(name, huffman=False) + string(value, huffman=False)


def test_a_long_block_is_not_remembered():
    """Memory is for what a proxy sends, not for what anybody sends."""
    both = Both()
    both.decode(TO_ZERO)
    long = literal(b"x", b"a" * LONGEST_BLOCK)
    both.decode(long)
    both.decode(long)
    assert both.asked == 3


@pytest.mark.parametrize(
    "updates", [b"\x20" * 13, b"\x3f\xe1\x1f" * 5, b"\x3f\x80\x80\x80\x00" * 3]
)
def test_a_flood_of_size_updates_is_refused(updates):
    """Each costs a microsecond a byte, and two are all that an encoder can need."""
    blocks = HeaderBlocks(list, ROOM)
    with pytest.raises(ConnectionFault) as refused:
        blocks.decode(updates)
    assert refused.value.code is Code.COMPRESSION_ERROR


@pytest.mark.parametrize("update", [b"\x21", b"\x3f\x00", b"\x3f\xe1\x1f", b"\x20\x3f\xe1\x1f"])
def test_a_table_that_was_refused_cannot_be_had(update):
    """Once the client has heard that the table is to have no room, a size above 0 is an error."""
    block = update + literal(b"x", b"y")
    blocks = HeaderBlocks(list, ROOM)
    assert blocks.decode(block) == [(b"x", b"y")]
    blocks.acknowledged = True
    with pytest.raises(ConnectionFault) as refused:
        blocks.decode(block)
    assert refused.value.code is Code.COMPRESSION_ERROR
    assert blocks.decode(TO_ZERO + literal(b"x", b"y")) == [(b"x", b"y")]


def test_a_list_that_inflates_harms_the_one_who_sent_it():
    """References to one large entry: a few bytes that would be megabytes."""
    bomb = b"\x40" + string(b"x", huffman=False) + string(b"a" * 3000, huffman=False)
    bomb += integer(62, 7, 0x80) * 1000
    with pytest.raises(ConnectionFault) as refused:
        HeaderBlocks(list, 16 * 1024).decode(bomb)
    assert refused.value.code is Code.ENHANCE_YOUR_CALM


def test_without_a_table_a_list_that_is_too_long_harms_no_other():
    """The block is refused alone, and the next one is read."""
    blocks = HeaderBlocks(list, 1024)
    blocks.decode(TO_ZERO)
    with pytest.raises(TooLong):
        blocks.decode(literal(b"x", b"a" * 600) * 2)
    assert blocks.decode(literal(b"x", b"y")) == [(b"x", b"y")]


@given(independent_blocks)
def test_values_stand_where_hpack_finds_them(block):
    """Every literal's value is the string that its span holds."""
    fields = hpack.Decoder(ROOM).decode(block, raw=True)
    spans = value_spans(block)
    assert spans is not None
    for (_, value), span in zip(fields, spans, strict=True):
        if span is not None:
            assert text_at(block, span[0]) == (value, span[1])


@given(any_blocks())
def test_what_touches_the_table_has_no_spans(block):
    """Such a block does more than its fields say, so it is never remembered."""
    try:
        hpack.Decoder(ROOM).decode(block, raw=True)
    except HPACKError:
        return
    touches = touches_table(block)
    assert (value_spans(block) is None) == touches


@pytest.mark.parametrize("block", [b"\xbe", b"\x0f\x2f\x01x", b"\x40\x01x\x01y", b"\x20\x82"])
def test_what_stands_in_the_table_has_no_span(block):
    """References to an entry and to the name of one, an insert, a change of size."""
    assert value_spans(b"\x82" + block) is None


@pytest.mark.parametrize("cut", [b"\x7f", b"\x7f\x80\x01", b"\x7f\x01", b"\x02a", b""])
def test_a_hole_that_ends_early_is_no_hole(cut):
    """hpack refuses such a block, and so do we."""
    both, name = Both(), b"\0" + string(b"tracestate", huffman=False)
    both.decode(TO_ZERO)
    both.decode(name + b"\x01a")
    assert both.decode(name + cut) is None


def touches_table(block: bytes) -> bool:
    """Does a block that hpack accepts refer to the dynamic table, or change it?"""
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
