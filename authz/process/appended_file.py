"""Append lines to a file, and wait until they are on the disk."""

import errno
import os
import stat
from pathlib import Path
from typing import Final

MODE: Final = 0o640
TAIL: Final = 1 << 20  # bytes at the end of a file in which its last line begins


def append_lines(path: Path, content: bytes, heading: bytes = b"") -> None:
    """Append lines, each with its line end, and return when they are on the disk.

    heading: comes first if the file is empty. A line that an earlier process could not finish is
    removed before. Raises OSError.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, MODE)
    if not stat.S_ISREG(os.fstat(handle).st_mode):  # a device may be read for ever
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file")
    with os.fdopen(handle, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        start = file.seek(max(size - TAIL, 0))
        whole = file.read().rfind(b"\n") + 1
        if whole or not start:
            file.truncate(start + whole)
        file.seek(0, os.SEEK_END)
        file.write(content if file.tell() else heading + content)
        file.flush()
        os.fsync(file.fileno())
