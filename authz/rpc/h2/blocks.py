"""Header blocks: the hpack library decodes them, and memory does where that cannot differ.

A proxy sends the same block with every call, or one in which only the trace differs. Decoding it
costs about fifty microseconds, finding it in a dict a fifth of one. What makes that safe:

1. We announce SETTINGS_HEADER_TABLE_SIZE 0. Once the client's encoder has gone down to it no block
   depends on another, so that equal bytes are equal fields. Until then hpack sees every block, for
   ever when a client uses the table that HTTP/2 begins with whatever we announce.
2. Only a block that hpack has decoded is remembered, and none that inserts into the table or
   changes its size: those do more than their fields say.
3. A pattern is a block with holes where the values of per-request fields stand. Between the holes
   every byte is compared, and a hole takes exactly one string literal, so hpack would find the
   same fields in the same places. Only what stands in the holes is not looked at, and nothing but
   a name in a trace is made of that (traceparent.py).
"""

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Generic, TypeGuard, TypeVar

from hpack import Decoder, HPACKError, OversizedHeaderListError

from authz.rpc.h2.frames import Code, ConnectionFault
from authz.rpc.h2.head import Field

logging.getLogger("hpack").setLevel(logging.INFO)  # at DEBUG it writes header values

PER_REQUEST: Final = frozenset(
    {
        *(b"traceparent", b"tracestate", b"baggage", b"x-request-id", b"x-cloud-trace-context"),
        *(b"b3", b"x-b3-traceid", b"x-b3-spanid", b"x-b3-parentspanid", b"x-ot-span-context"),
        *(b"x-datadog-trace-id", b"x-datadog-parent-id", b"x-amzn-trace-id", b"sw8"),
    }
)
MOST_BLOCKS: Final = 16  # remembered on one connection; a proxy sends one or two
MOST_PATTERNS: Final = 4
LONGEST_BLOCK: Final = 1024  # that is remembered
LONGEST_HOLE: Final = 2 + 0x7F + 0x7F  # a length in at most two bytes, and the string
SIZE_UPDATES: Final = re.compile(rb"(?:[\x20-\x3e]|\x3f[\x80-\xff]{0,5}[\0-\x7f])+")
TO_ZERO: Final = b"\x20"
MOST_UPDATES: Final = 12  # bytes; two updates, which is all that an encoder has a reason to send

What = TypeVar("What")


class TooLong(Exception):  # noqa: N818  the list, not this program, is wrong
    """The header list is over the limit. No other block is harmed."""


class HeaderBlocks(Generic[What]):
    """Turns header blocks into what `read` makes of their fields.

    `read` may refuse the value of a PER_REQUEST field, but MUST NOT make anything of it. What it
    raises is passed on.
    """

    def __init__(self, read: Callable[[Iterable[Field]], What], max_list_bytes: int) -> None:
        self._read = read
        self._decoder = Decoder(max_list_bytes)
        self._known: dict[bytes, What] = {}
        self._patterns: list[_Pattern[What]] = []
        self.acknowledged = False  # has the client heard of SETTINGS_HEADER_TABLE_SIZE 0?
        self.independent = False  # does no block depend on another?

    def decode(self, block: bytes) -> What:
        """What a request's block says. Raises ConnectionFault and TooLong."""
        if self.independent:
            known = self._known.get(block)
            if known is not None:
                return known
            for pattern in self._patterns:
                if pattern.fits(block):
                    return pattern.what
        was_independent = self.independent
        fields = self.fields(block)
        what = self._read(fields)
        if was_independent and self.independent and len(block) <= LONGEST_BLOCK:
            self._remember(block, fields, what)
        return what

    def fields(self, block: bytes) -> list[Field]:
        """The fields of any block, by hpack. Raises ConnectionFault and TooLong."""
        if not self._may_begin_so(block):
            raise ConnectionFault(Code.COMPRESSION_ERROR, "a header table of a refused size")
        try:
            return [(name, value) for name, value in self._decoder.decode(block, raw=True)]
        except OversizedHeaderListError:
            if self._decoder.header_table_size:  # the rest may have changed the table
                problem = "a header list over the limit"
                raise ConnectionFault(Code.ENHANCE_YOUR_CALM, problem) from None
            raise TooLong from None
        except HPACKError:
            raise ConnectionFault(Code.COMPRESSION_ERROR, "a header block is garbled") from None
        finally:
            self.independent = not self._decoder.header_table_size

    def _may_begin_so(self, block: bytes) -> bool:
        """Are the size updates, if there are any, such as an encoder may send?"""
        found = SIZE_UPDATES.match(block)
        if found is None:
            return True
        return len(found[0]) <= MOST_UPDATES and not (self.acknowledged and found[0].strip(TO_ZERO))

    def _remember(self, block: bytes, fields: Sequence[Field], what: What) -> None:
        spans = value_spans(block)
        if spans is None:
            return
        values = zip(fields, spans, strict=True)
        holes = [span for (name, _), span in values if name in PER_REQUEST and _is_hole(span)]
        if holes:
            if len(self._patterns) == MOST_PATTERNS:
                self._patterns.clear()
            self._patterns.append(_Pattern(block, holes, what))
        else:
            if len(self._known) == MOST_BLOCKS:
                self._known.clear()
            self._known[block] = what


Span = tuple[int, int]


def _is_hole(span: Span | None) -> TypeGuard[Span]:
    """Is the value a string literal that a hole can take?"""
    return span is not None and span[1] - span[0] <= LONGEST_HOLE


class _Pattern(Generic[What]):
    """A block with holes, each the place of one string literal."""

    __slots__ = ("_last", "_pieces", "what")

    def __init__(self, block: bytes, holes: Sequence[Span], what: What) -> None:
        starts, ends = zip(*holes, strict=True)
        pieces = [block[a:b] for a, b in zip((0, *ends[:-1]), starts, strict=True)]
        self._pieces = [(piece, len(piece)) for piece in pieces]
        self._last = block[ends[-1] :]
        self.what = what

    def fits(self, block: bytes) -> bool:
        """Has this block the same fields but for the holes?"""
        at, size = 0, len(block)
        for piece, piece_size in self._pieces:
            if not block.startswith(piece, at):
                return False
            at += piece_size
            if at >= size:
                return False
            length = block[at] & 0x7F
            at += 1
            if length == 0x7F:  # noqa: PLR2004  and what the next byte says
                if at >= size or block[at] & 0x80:
                    return False
                length += block[at]
                at += 1
            at += length
        return at <= size and block[at:] == self._last


def value_spans(block: bytes) -> list[Span | None] | None:
    """Where each field's value stands, None where it stands in the static table.

    None for the whole when the block touches the dynamic table. hpack has decoded the block.
    """
    spans: list[Span | None] = []
    at = 0
    while at < len(block):
        first = block[at]
        if first & 0x80:
            index, at = _integer(block, at, 7)
            if index > STATIC_ENTRIES:
                return None
            spans.append(None)
        elif first & 0x60:  # an insert, or a size update
            return None
        else:
            index, at = _integer(block, at, 4)
            if index > STATIC_ENTRIES:
                return None
            if index == 0:
                length, at = _integer(block, at, 7)
                at += length
            start = at
            length, at = _integer(block, at, 7)
            at += length
            spans.append((start, at))
    return spans


STATIC_ENTRIES: Final = 61


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    """An integer with a prefix of so many bits (RFC 7541, section 5.1), and where it ends."""
    mask = (1 << bits) - 1
    value = block[at] & mask
    at += 1
    if value < mask:
        return value, at
    shift = 0
    while True:
        more = block[at]
        at += 1
        value += (more & 0x7F) << shift
        shift += 7
        if more < 0x80:  # noqa: PLR2004  the last byte
            return value, at
