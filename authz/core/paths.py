"""Paths as clients write them: which have one reading, and their segments.

A proxy in a mesh does not normalise paths, and a backend may. Where rules decide, a path whose
readers could disagree on its segments is refused:

    //   .   ..   ;   %3B   \\   %5C   %2F          another number of segments
    %2E   %61                                      encoded, though it needs no encoding
    %2561   %25u                                   encoded twice
    %   %zz   %00   %0D   %FF   %C0%AF             not an encoding, a control character, not UTF-8

So is one with more than MAX_PATH characters or MAX_SEGMENTS segments: its work is bounded.

What remains is read in two ways: decoded, as most frameworks do, and as it was written, as those
do that decode only what their variables match. One final slash makes no difference to either.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import unquote

MAX_PATH: Final = 8192
MAX_SEGMENTS: Final = 256
MAX_FORMAT: Final = 16

# RFC 3986, section 2.3, names the characters that need no encoding.
_TWO_READINGS: Final = re.compile(
    r"[\\;#\x00-\x20\x7f-\U0010ffff]"
    r"|%(?![0-9A-Fa-f]{2})"
    r"|%(?:2[DEFdef]|3[0-9Bb]|4[1-9A-Fa-f]|5[0-9AaCcFf]|6[1-9A-Fa-f]|7[0-9AaEeFf]|[01][0-9A-Fa-f])"
    r"|%25(?:[0-9A-Fa-f]{2}|[Uu])",
    re.ASCII,
)
_ESCAPE: Final = re.compile(r"%[0-9A-Fa-f]{2}", re.ASCII)
_LOWER: Final = {ord(upper): upper.lower() for upper in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


class Path(NamedTuple):
    """The segments of a path, decoded and as written. Both are one object if nothing is encoded."""

    decoded: list[str]
    written: list[str]


def read_path(path: str) -> Path | None:
    """Return the segments of `path`, which has no query, without a final slash; `/` has none.

    None if the path has more than one reading or a bad escape (see above), does not begin with `/`,
    or has more than MAX_PATH (8192) characters or MAX_SEGMENTS (256) segments.
    """
    if len(path) > MAX_PATH or not path.startswith("/") or _TWO_READINGS.search(path):
        return None
    written = _segments(path)
    if len(written) > MAX_SEGMENTS or not {"", ".", ".."}.isdisjoint(written):
        return None
    if "%" not in path:
        return Path(written, written)
    try:
        decoded = unquote(path, errors="strict")
    except UnicodeDecodeError:
        return None
    return Path(_segments(decoded), _segments(with_upper_escapes(path)))


def without_suffix(segments: Sequence[str]) -> list[str]:
    """Return the segments without a format at the end, and without dots and blanks at their ends.

    Rails takes `/admin.json` for `/admin`, and Windows `/admin.` and `/admin%20`. A format has at
    most 16 letters and digits, a letter first, at the end of the last segment. A segment can become
    empty.
    """
    bare = [_without_end(segment) for segment in segments]
    name, _, format_ = bare[-1].rpartition(".") if bare else ("", "", "")
    if name and len(format_) <= MAX_FORMAT and format_[:1].isalpha() and format_.isalnum():
        bare[-1] = _without_end(name)
    return bare


def _without_end(segment: str) -> str:
    end = len(segment)
    while end and (segment[end - 1] in ". " or segment.endswith("%20", 0, end)):
        end -= 1 if segment[end - 1] in ". " else len("%20")
    return segment[:end]


def is_canonical(path: str) -> bool:
    """Return whether `read_path` accepts `path`, which has no query."""
    return read_path(path) is not None


def with_upper_escapes(path: str) -> str:
    """Return `path` with the hex digits of its escapes in upper case: `%2f` becomes `%2F`.

    RFC 3986, section 2.1, makes both equal.
    """
    return _ESCAPE.sub(lambda match: match[0].upper(), path)


def without_case(text: str) -> str:
    """Return `text` with its ASCII letters in lower case, and as long as before."""
    return text.lower() if text.isascii() else text.translate(_LOWER)


def is_folded_by_some(text: str) -> bool:
    """Return whether a reader without case may take a letter of `text` outside ASCII for another.

    For example U+00C9 as U+00E9, or U+212A, the Kelvin sign, as k. False for ASCII text, and for
    letters that are in lower case, such as U+00E9.
    """
    return not text.isascii() and any(
        character.casefold() != character or any(map(str.isascii, character.upper()))
        for character in set(text)
        if not character.isascii()
    )


def _segments(path: str) -> list[str]:
    segments = path[1:].split("/")
    if segments[-1] == "":  # one final slash, or the root
        segments.pop()
    return segments
