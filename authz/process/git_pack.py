"""Pack: a pack of a git repository, with the places of its entries.

Only version 2 of its index is read. https://git-scm.com/docs/gitformat-pack
"""

import mmap
import os
import stat
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Final

from authz.core.errors import Unreadable
from authz.process.pack_format import MAX_HEADER, THINGS, entry, inflated

NONE: Final = -1
NEAR: Final = 64  # entries before one, among which its base is looked for first
_INDEX: Final = b"\xfftOc\x00\x00\x00\x02"
_NAMES: Final = len(_INDEX) + 256 * 4  # the place of the first name in an index
_PACK: Final = b"PACK"
_VERSIONS: Final = (2, 3)
_HEAD: Final = 12  # bytes of a pack before its first entry
_FAR: Final = 1 << 31  # marks an offset that stands in the table of large ones


class Pack:
    """An open pack. Its entries have numbers from 0 on, in the order of the pack.

    hash_length: bytes of the name of an object. Raises OSError if the pack cannot be read,
    Unreadable if it is not what the format says.
    """

    def __init__(self, index: Path, hash_length: int) -> None:
        self._hash_length = hash_length
        self._index = _mapped(index)
        self._data = _mapped(index.with_suffix(".pack"))
        self._view = memoryview(self._data)
        self.count = self._checked()
        self.size = len(self._data)
        self._by_name = self._places()
        self._offsets = array("Q", sorted(self._by_name))
        self._offsets.append(self.size - hash_length)
        self._starts = array("Q", bytes(8 * self.count))
        self._sizes = array("Q", bytes(8 * self.count))
        self._kinds = bytearray(self.count)
        self._child = array("i", [NONE]) * self.count
        self._sibling = array("i", [NONE]) * self.count
        self.roots = array("I")
        """The entries without a base that can be read."""
        self._link()

    def _checked(self) -> int:
        """Return the number of entries, if index and pack belong together."""
        index, data, length = self._index, self._data, self._hash_length
        if index[: len(_INDEX)] != _INDEX or len(index) < _NAMES + 2 * length:
            raise Unreadable("not a pack and its index")
        count = int.from_bytes(index[_NAMES - 4 : _NAMES], "big")
        if len(index) < _NAMES + count * (length + 8) + 2 * length or len(data) < _HEAD + length:
            raise Unreadable("not a pack and its index")
        if data[:4] != _PACK or int.from_bytes(data[4:8], "big") not in _VERSIONS:
            raise Unreadable("not a pack and its index")
        is_same = data[-length:] == index[-2 * length : -length]
        if not is_same or int.from_bytes(data[8:12], "big") != count:
            raise Unreadable("not a pack and its index")
        return count

    def _places(self) -> "array[int]":
        """Return the offsets of the entries, in the order of their names."""
        begins = _NAMES + self.count * (self._hash_length + 4)
        ends = begins + 4 * self.count
        near = _numbers("I", self._index[begins:ends])
        far = _numbers("Q", self._index[ends : len(self._index) - 2 * self._hash_length])
        try:
            return array("Q", (far[one - _FAR] if one >= _FAR else one for one in near))
        except IndexError:
            raise Unreadable("an index is damaged") from None

    def _link(self) -> None:
        """Find the base of each entry. One whose beginning cannot be read has none and is no root.

        So neither it nor an entry that is made from it is reached.
        """
        data, length = self._data, self._hash_length
        starts, sizes, kinds = self._starts, self._sizes, self._kinds
        for number, offset in enumerate(islice(self._offsets, self.count)):
            try:
                kind, size, begins, base = entry(data[offset : offset + MAX_HEADER], length)
            except Unreadable:
                continue
            starts[number], sizes[number], kinds[number] = offset + begins, size, kind
            if kind in THINGS:
                self.roots.append(number)
                continue
            if isinstance(base, int):
                found = self._before(number, offset - base)
            else:
                found = self._named(base)
            if found != NONE:
                self._sibling[number] = self._child[found]
                self._child[found] = number

    def _named(self, name: bytes) -> int:
        at = self.position_after(name) - 1
        if at < 0 or self._name(at) != name:
            return NONE
        return bisect_left(self._offsets, self._by_name[at], 0, self.count)

    def _before(self, number: int, offset: int) -> int:
        """Return the entry at this offset, which is one of the entries before `number`."""
        first = number - NEAR
        if first < 0 or self._offsets[first] > offset:
            first = 0
        found = bisect_left(self._offsets, offset, first, number)
        return found if self._offsets[found] == offset else NONE

    def _name(self, at: int) -> bytes:
        begins = _NAMES + at * self._hash_length
        return self._index[begins : begins + self._hash_length]

    def position_after(self, name: bytes) -> int:
        """Return how many names of objects are at most `name`."""
        return bisect_right(range(self.count), name, key=self._name)

    def lines(self, first: int, last: int) -> list[bytes]:
        """Return the names of objects from one position to another one, as git lists them."""
        length = self._hash_length
        table = self._index[_NAMES + first * length : _NAMES + last * length]
        return [b"%b\n" % name for name in table.hex("\n", length).encode("ascii").split()]

    def name(self, number: int) -> bytes:
        """Return the name of the object of an entry. The first call sorts all names."""
        return self._name(self._order[number])

    @cached_property
    def _order(self) -> "array[int]":
        return array("I", sorted(range(self.count), key=self._by_name.__getitem__))

    def kind(self, number: int) -> int:
        """Return the kind of an entry, or 0 if its beginning cannot be read."""
        return self._kinds[number]

    def children(self, number: int) -> Iterator[int]:
        """Yield the entries whose base is this one."""
        child = self._child[number]
        while child != NONE:
            yield child
            child = self._sibling[child]

    def content(self, number: int, most: int) -> bytes:
        """Return the unpacked data of an entry: an object, or a delta.

        Raises Unreadable if it cannot be read, or is more than `most` bytes.
        """
        size, start = self._sizes[number], self._starts[number]
        if size > most:
            raise Unreadable("an object is too large")
        return inflated(self._view[start : self._offsets[number + 1]], size)


def _mapped(file: Path) -> mmap.mmap:
    # Without O_NONBLOCK the opening of a pipe would wait for its writer.
    with open(
        file, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)
    ) as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise Unreadable("not a file")
        try:
            return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise Unreadable("a file is empty") from None


def _numbers(kind: str, data: bytes) -> "array[int]":
    found = array(kind)
    try:
        found.frombytes(data)
    except ValueError:
        raise Unreadable("an index is damaged") from None
    if sys.byteorder == "little":
        found.byteswap()
    return found
