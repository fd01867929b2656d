"""The format of git's packs: entries, and deltas against other objects.

https://git-scm.com/docs/gitformat-pack
"""

import zlib
from importlib import import_module
from struct import Struct, error
from typing import Any, Final

from authz.core.errors import Unreadable

THINGS: Final = {1: "commit", 2: "tree", 3: "blob", 4: "tag"}
OFFSET_DELTA: Final = 6
REFERENCE_DELTA: Final = 7
MAX_HEADER: Final = 64  # bytes of an entry before its data
DIRECT: Final = 64 * 1024  # compressed bytes, which become at most 66 MB
_COPY: Final = 128  # steps from here on copy from the base, the others are followed by new bytes
_FULL_COPY: Final = 0x10000
# Long new text is many steps of the largest size, one behind the other. They are taken at once.
_FULL_ADD: Final = 127
_FULL_ADDS: Final = bytes((_FULL_ADD,))
_STRIDE: Final = 1 + _FULL_ADD
_MAX_RUN: Final = 64 * _STRIDE
_START_BITS: Final = 4
_COUNT_BITS: Final = 3
# By step: the form of the bytes that follow it, for offsets and numbers of one or two bytes.
_SHORT: Final = {1: "B", 3: "H"}
_PLACES: Final = [
    Struct(f"<{_SHORT[step & 15]}{_SHORT[step >> 4 & 7]}")
    if step & 15 in _SHORT and step >> 4 & 7 in _SHORT
    else None
    for step in range(256)
]
_MAX_SHIFT: Final = 63  # bits


try:  # the extra `scan`
    unpacking: Any = import_module("isal.isal_zlib")
except ImportError:
    unpacking = zlib
_FAULT: type[Exception] = unpacking.error


def entry(head: bytes, hash_length: int) -> tuple[int, int, int, int | bytes]:
    """Return kind, size, place of the data, and base of an entry. Raises Unreadable.

    The size is that of the object or of the delta, unpacked. The base is how many bytes it begins
    before this entry, or its name; 0 if the entry has none.
    """
    try:
        byte, at = head[0], 1
        kind, size, shift = byte >> 4 & 7, byte & 15, 4
        while byte & 128:
            byte = head[at]
            size |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
        if size >> _MAX_SHIFT:
            raise Unreadable("an entry of no possible size")
        if kind in THINGS:
            return kind, size, at, 0
        if kind == OFFSET_DELTA:
            byte, at = head[at], at + 1
            distance = byte & 127
            while byte & 128:
                byte = head[at]
                distance = (distance + 1) << 7 | byte & 127
                at += 1
            return kind, size, at, distance
    except IndexError:
        raise Unreadable("an entry is cut off") from None
    if kind == REFERENCE_DELTA and len(head) >= at + hash_length:
        return kind, size, at + hash_length, head[at : at + hash_length]
    raise Unreadable("an entry of no known kind")


def inflated(data: memoryview, size: int) -> bytes:
    """Return `size` unpacked bytes. Bytes after the end of the data are left alone.

    Raises Unreadable if there are more or fewer, or the checksum of the data is wrong.
    """
    try:
        if len(data) <= DIRECT:
            found: bytes = unpacking.decompress(data, bufsize=size or 1)
        else:
            stream = unpacking.decompressobj()
            found = stream.decompress(data, size + 1)
            if not stream.eof:
                raise Unreadable("data is cut off")
    except _FAULT:
        raise Unreadable("data cannot be unpacked") from None
    if len(found) != size:
        raise Unreadable("data has a wrong size")
    return found


def applied(base: bytes, delta: bytes, most: int) -> bytes:
    """Return the object that a delta makes of its base.

    Raises Unreadable, also for an object of more than `most` bytes.
    """
    size, parts, end = len(base), list[bytes | bytearray](), len(delta)
    expected, at = _size(delta, 0)
    left, at = _size(delta, at)
    if expected != size or left > most:
        raise Unreadable("a delta does not fit")
    add = parts.append
    try:
        while at < end:
            step = delta[at]
            if step == _FULL_ADD and delta[at + _STRIDE : at + _STRIDE + 1] == _FULL_ADDS:
                run, at = _run(delta, at)
                add(run)
                left -= len(run)
                continue
            at += 1
            if step < _COPY:
                stop = at + step
                add(delta[at:stop])
                at = stop
                left -= step
                if step:
                    continue
                raise Unreadable("a delta has a step of no kind")
            place = _PLACES[step]
            if place is None:
                start, count, at = _place(delta, at, step)
            else:
                start, count = place.unpack_from(delta, at)
                at += place.size
            left -= count
            stop = start + count
            if stop > size or left < 0 or not count:  # few steps could ask for any amount of memory
                raise Unreadable("a delta copies too much")
            add(base[start:stop])
    except (IndexError, error):
        raise Unreadable("a delta is cut off") from None
    if left or at > end:
        raise Unreadable("a delta is cut off")
    return b"".join(parts)


def _run(delta: bytes, at: int) -> tuple[bytearray, int]:
    """Return the bytes of the steps of the largest size from a place on, and the place after them.

    There are fewer bytes if the delta is cut off.
    """
    steps = delta[at : at + _MAX_RUN : _STRIDE]
    stop = at + _STRIDE * (len(steps) - len(steps.lstrip(_FULL_ADDS)))
    run = bytearray(delta[at:stop])
    del run[::_STRIDE]
    return run, stop


def _place(delta: bytes, at: int, step: int) -> tuple[int, int, int]:
    """Return offset and number of the bytes that a step copies, and the place after the step."""
    start = count = 0
    for bit in range(_START_BITS):
        if step >> bit & 1:
            start |= delta[at] << 8 * bit
            at += 1
    for bit in range(_COUNT_BITS):
        if step >> _START_BITS + bit & 1:
            count |= delta[at] << 8 * bit
            at += 1
    return start, count or _FULL_COPY, at


def _size(delta: bytes, at: int) -> tuple[int, int]:
    """Return a number at a place of a delta, and the place after it. Raises Unreadable."""
    size = 0
    try:
        for shift in range(0, _MAX_SHIFT, 7):
            byte = delta[at]
            at += 1
            size |= (byte & 127) << shift
            if byte < 128:  # noqa: PLR2004
                return size, at
    except IndexError:
        pass
    raise Unreadable("a delta is cut off")
