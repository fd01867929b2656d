"""Counts in few bytes, as lua/packed_counts.lua writes them."""

from collections.abc import Iterator
from struct import Struct
from typing import Final

from authz.core.usage.counts import FIELDS, LARGEST, Counts

_BITS: Final = 7
_MORE: Final = 1 << _BITS  # of a byte: more bytes of this number follow
_TRAILER: Final = Struct(">BHI")  # the length of the rows in 3 bytes, and the slot
_BEFORE_COUNTS: Final = 3  # numbers of a row: slot, route, how many counts


def numbers_of(data: bytes) -> list[int]:
    """Return the numbers of some bytes. Raises ValueError for bytes that are no packed numbers."""
    found = []
    number, shift, sign = 0, 0, 1
    for byte in data:
        if byte >= _MORE:
            number |= (byte - _MORE) << shift
            shift += _BITS
            if number > LARGEST or shift > 64:  # noqa: PLR2004  else they could take long
                raise ValueError("a number is too large")
        elif byte == 0 and shift:
            number, shift, sign = 0, 0, -1
        else:
            found.append(sign * (number | byte << shift))
            number, shift, sign = 0, 0, 1
    if shift or sign < 0:
        raise ValueError("it ends within a number")
    return found


def rows_of(data: bytes, first: int) -> Iterator[tuple[int, int, Counts]]:
    """Yield slot, route and counts of each row. first: the slot of their block.

    A slot and route can come several times: they add up. Raises ValueError.
    """
    numbers, at = numbers_of(data), 0
    while at < len(numbers):
        slot, route, count = numbers[at : at + _BEFORE_COUNTS]  # ValueError: a row that is cut off
        at += _BEFORE_COUNTS
        counts = numbers[at : at + count]
        at += count
        if not 0 <= count <= FIELDS or len(counts) != count or slot < 0 or route < 0:
            raise ValueError("not a row")
        if any(abs(each) > LARGEST for each in counts):
            raise ValueError("a count is too large")
        yield first + slot, route, Counts((*counts, *[0] * (FIELDS - count)))


def blocks_of(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the slot and the rows of each block, the last block first. Raises ValueError."""
    ends = len(data)
    while ends:
        if ends < _TRAILER.size:
            raise ValueError("it ends within a block")
        high, low, slot = _TRAILER.unpack_from(data, ends - _TRAILER.size)
        last = ends - _TRAILER.size
        ends = last - (high << 16 | low)
        if ends < 0:
            raise ValueError("a block is longer than all")
        yield slot, data[ends:last]
