"""Lines of stdin, each with one JSON object. No error shows the text of a line."""

import json
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from authz.core.errors import BadInput

MAX_LINE: Final = 65_536  # bytes
LINE: Final = "the line"


def lines(source: BinaryIO, first: bytes = b"") -> Iterator[tuple[int, int, bytes | None]]:
    """Yield number (from 1), size in bytes and content of each line, with its newline.

    first: a part that was read already, at most MAX_LINE + 1 bytes without a newline before its
    end. The content is None if the line has more than MAX_LINE (65,536) bytes.
    """
    number = 0
    while raw := first or source.readline(MAX_LINE + 1):
        first = b""
        number, size = number + 1, len(raw)
        too_long = size > MAX_LINE
        while too_long and not raw.endswith(b"\n") and (raw := source.readline(MAX_LINE)):
            size += len(raw)
        yield number, size, None if too_long else raw


def json_object(raw: bytes | None) -> dict[str, Any]:
    """Return the JSON object of one line. raw: None for an overlong line.

    Raises BadInput, without the text, for an overlong line, for other text, and for a name that
    occurs twice.
    """
    if raw is None:
        raise BadInput(LINE, f"is longer than {MAX_LINE} bytes")
    try:
        given = _DECODER.decode(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise BadInput(LINE, 'is not one JSON object, such as {"key": "...", "client": "acme"}')
    return given


def unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the members of a JSON object. Raises ValueError if a name occurs twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


_DECODER: Final = json.JSONDecoder(object_pairs_hook=unique_names)
