"""Search bytes for keys in blocks, so that a file of any size needs the memory of one block."""

import errno
import os
import select
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from authz.core.keys.scanning import OVERLAP, KeyScanner, Sighting

BLOCK: Final = 256 * 1024  # bytes: a block stays in the processor's cache

PART: Final = 16 * 1024  # bytes


class Readable(Protocol):
    """A stream of bytes, such as a file or a pipe."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill the beginning of the buffer. Return the number of bytes; 0 at the end.

        None: there is nothing to read yet.
        """
        ...


class Pollable(Readable, Protocol):
    """A stream that the operating system knows by a number."""

    def fileno(self) -> int:
        """Return the number of the open file."""
        ...


class Waiting:
    """A Readable over a stream that may not block, such as a pipe that another program has made so.

    Such a stream has nothing to read before its writer writes. That is not its end.
    """

    def __init__(self, stream: Pollable) -> None:
        self._stream = stream

    def readinto(self, buffer: memoryview, /) -> int:
        """Implement Readable.readinto. Raises OSError."""
        while (count := self._stream.readinto(buffer)) is None:
            readable = select.poll()
            readable.register(self._stream, select.POLLIN)
            readable.poll()
        return count


@dataclass(frozen=True, slots=True)
class Hit:
    """A key in a stream. line: from 1 on; 0 if the lines were not counted.

    offset: that of the key's first byte in the stream.
    """

    offset: int
    line: int
    sighting: Sighting


class BlockSearch:
    """Searches streams, one after the other, in one buffer. bytes_read: of all of them."""

    def __init__(self, scanner: KeyScanner) -> None:
        self.scanner = scanner
        self._buffer = bytearray(OVERLAP + BLOCK)
        self.bytes_read = 0

    def hits(self, stream: Readable, *, counts_lines: bool) -> Iterator[Hit]:
        """Yield the keys of a stream. counts_lines: it costs as much time as the search.

        Raises OSError if the stream cannot be read.
        """
        buffer, seen, offset, lines = self._buffer, 0, 0, 1
        while True:
            with memoryview(buffer) as view:
                count = stream.readinto(view[seen : seen + BLOCK])
            if count is None:  # it is not the end
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            self.bytes_read += count
            end = seen + count
            for one in self.scanner.find(buffer, end, seen, is_last=not count):
                line = lines + buffer.count(b"\n", 0, one.start) if counts_lines else 0
                yield Hit(offset + one.start, line, one)
            if not count:
                return
            kept = min(OVERLAP, end)
            if counts_lines:
                lines += buffer.count(b"\n", 0, end - kept)
            offset += end - kept
            buffer[:kept] = buffer[end - kept : end]
            seen = kept


def hits_in(scanner: KeyScanner, data: bytes, size: int) -> Iterator[Hit]:
    """Yield the keys in the first `size` bytes, with their lines. Line ends are counted once.

    Once for each kind of key, as the scanner yields one kind after the other.
    """
    at, line = 0, 1
    for one in scanner.find(data, size):
        if one.start < at:
            at, line = 0, 1
        line += data.count(b"\n", at, one.start)
        at = one.start
        yield Hit(at, line, one)


class LineNumbers:
    """The lines of offsets in an open file, from 1 on. A log may have a key in each of its lines.

    So the line ends of each part of PART bytes (16 KiB) are counted once, and their sums kept: 8
    bytes for each part before the last offset. Each offset also reads its own part up to it.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._before = array("Q", [0])  # line ends before each part

    def of(self, offset: int) -> int:
        """Return the line of an offset. Raises OSError."""
        part = offset // PART
        while len(self._before) <= part:
            last = len(self._before) - 1
            self._before.append(self._before[last] + self._count(PART, last * PART))
        return 1 + self._before[part] + self._count(offset - part * PART, part * PART)

    def _count(self, size: int, start: int) -> int:
        return os.pread(self._descriptor, size, start).count(b"\n")
