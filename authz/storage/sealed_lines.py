"""Sealed lines: a file of JSON lines in which a change of any byte is found, by line.

Each line is `JSON TAB MAC`. The MAC is HMAC-SHA-256 over the MAC of the line before and the JSON.
So a line that was altered, moved, left out or copied from another file has a wrong MAC. The last
line is an object with the member `end`. Without it the file was truncated. Reading needs the memory
of one line.
"""

import hmac
import json
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Final

from authz.core.errors import Fault

MAX_LINE: Final = 1 << 26  # bytes
_MAC_LENGTH: Final = 64


class FileRefused(Fault):
    """The file cannot be used. The text begins with the line number, such as `line 3:`."""


class SealedWriter:
    """Writes sealed lines to a binary file. The caller flushes and closes it."""

    def __init__(self, file: BinaryIO, key: bytes) -> None:
        self._file = file
        self._key = key
        self._mac = ""

    def write(self, item: dict[str, Any]) -> None:
        """Write one line. The last one, and no other, must have the member `end`.

        Raises OSError.
        """
        text = json.dumps(item, separators=(",", ":")).encode()
        self._mac = _mac(self._key, self._mac, text)
        self._file.write(text + b"\t" + self._mac.encode() + b"\n")


def read(file: BinaryIO, keys: Sequence[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line number (from 1) and content of each line.

    keys: one of these must have sealed the file. Raises FileRefused at the first line that is not
    intact, and at the end if the file is truncated or empty. So only the end of the iteration shows
    that the file is complete.
    """
    key, before, number, is_over = None, "", 0, False
    while line := file.readline(MAX_LINE):
        number += 1
        if is_over:
            raise FileRefused(f"line {number}: the file continues after its end")
        text, tab, rest = line.rpartition(b"\t")
        if not tab or len(rest) != _MAC_LENGTH + 1 or not rest.endswith(b"\n"):
            raise FileRefused(f"line {number}: it is truncated, or not of a backup")
        found = rest[:-1].decode("ascii", "replace")
        key = key or next((k for k in keys if _is_equal(_mac(k, before, text), found)), None)
        if key is None:
            raise FileRefused(f"line {number}: it was altered, or sealed with another pepper")
        if not _is_equal(_mac(key, before, text), found):
            raise FileRefused(f"line {number}: it, or a line before it, was altered or left out")
        item = json.loads(text)
        before, is_over = found, "end" in item
        yield number, item
    if not is_over:
        raise FileRefused(f"line {number + 1}: the file is truncated")


def _mac(key: bytes, before: str, text: bytes) -> str:
    return hmac.digest(key, before.encode() + b"\n" + text, "sha256").hex()


def _is_equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
