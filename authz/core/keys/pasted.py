"""Find a key in text that a person pasted: an assignment, a header, a command, a cut-off key."""

import re
from base64 import b64decode
from collections.abc import Iterator
from typing import Final, NamedTuple
from urllib.parse import unquote

from authz.core.errors import BadInput
from authz.core.keys.text import ENVIRONMENTS, KID_LENGTH

_ENVIRONMENT: Final = "|".join(ENVIRONMENTS)
# A header, and perhaps a scheme, at the end of the text before a key.
_HEADER = re.compile(
    r"([A-Za-z][A-Za-z0-9-]{0,63})[\"']? ?: ?[\"']?(?:([A-Za-z][A-Za-z0-9-]{0,31}) +)?\Z", re.ASCII
)
_LOOK_BACK: Final = 128
_STANDARD: Final = str.maketrans("-_", "+/")
# One word: no blank, no quote, and `=` only at its end, as in base64.
_WORD = re.compile(r"[^\s\"'`:<>(){}\[\];=\u2026]+=*")
# A key of another format with one thing around it. An imported key may contain `=`, so the name of
# an assignment without quotes is in upper case.
_FOREIGN: Final = r"(?P<key>[A-Za-z0-9_.~+/=-]+)"
_ASSIGNED = re.compile(
    r"(?:export +)?(?:[A-Z][A-Z0-9_]{0,63}=|\w{1,64} ?= ?(?=[\"']))"
    rf"(?P<quote>[\"'`]?){_FOREIGN}(?P=quote);?",
    re.ASCII,
)
_IN_HEADER = re.compile(
    r"(?P<quote>[\"'`]?)"
    r"(?P<head>[A-Za-z][A-Za-z0-9-]{0,63}: ?(?:[A-Za-z][A-Za-z0-9-]{0,31} +)?)"
    rf"{_FOREIGN}(?P=quote)",
    re.ASCII,
)
# Base64, in either alphabet, of a text that is long enough to name a key.
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{32,}", re.ASCII)
_QUOTED = re.compile(rf"(?P<quote>[\"'`]){_FOREIGN}(?P=quote)[,;]?", re.ASCII)


class Pasted(NamedTuple):
    """text: the key, or the text that is taken for one.

    carrier: `header:scheme` in lower case, or empty. The scheme is empty in `x-api-key:`.
    """

    text: str
    carrier: str = ""


def find_key(text: str, prefix: str) -> Pasted | None:
    """Return the one key in `text`, complete or cut off. `text` has no blanks at its ends.

    If no key of ours stands there as it is, it is also looked for without the backslashes of
    Markdown, without percent escapes, and in base64, as in a Secret of Kubernetes. A single word is
    returned as it is. If no key of ours is found, return one line without the assignment, header or
    quotes around it, and None for several lines. Raises BadInput if there are
    several different keys of ours. prefix: a regex pattern for the prefix of our keys.
    """
    named = re.compile(rf"{prefix}_(?:{_ENVIRONMENT})_[0-9A-Za-z]{{{KID_LENGTH}}}", re.ASCII)
    if not named.search(text):
        text = next(filter(named.search, _decoded(text)), text)
    if _WORD.fullmatch(text):
        return Pasted(text)
    shape = rf"(?<![0-9A-Za-z_]){prefix}_(?:{_ENVIRONMENT})_[0-9A-Za-z_]*"
    found = list(re.finditer(shape, text, re.ASCII))
    if len({match[0] for match in found}) > 1:
        raise BadInput("stdin", "contains several keys; give one")
    if found:
        before = text[: found[0].start()]
        return Pasted(found[0][0], _carrier_before(before))
    return None if "\n" in text else _unwrapped(text)


def named_kid(text: str, prefix: str) -> str:
    """Return the kid of the key of ours at the start of `text`, or empty text if there is none.

    The key may be cut off anywhere behind the kid. The rest is not checked. prefix: as of
    `find_key`.
    """
    shape = rf"{prefix}_(?:{_ENVIRONMENT})_([0-9A-Za-z]{{{KID_LENGTH}}})(?![0-9A-Za-z])"
    match = re.match(shape, text, re.ASCII)
    return match[1] if match else ""


def _decoded(text: str) -> Iterator[str]:
    """Yield the text without backslashes, without percent escapes, and each word of base64."""
    yield text.replace("\\", "")
    yield unquote(text)
    for word in _BASE64.findall(text):
        whole = word[: len(word) - (len(word) % 4 == 1)]  # no byte ends after one character
        padded = f"{whole}{'=' * (-len(whole) % 4)}".translate(_STANDARD)
        yield b64decode(padded).decode("latin-1")


def _carrier_before(text: str) -> str:
    match = _HEADER.search(text[-_LOOK_BACK:])
    return f"{match[1]}:{match[2] or ''}".lower() if match else ""


def _unwrapped(text: str) -> Pasted:
    """Return a key of another format without the assignment, header or quotes around it.

    Other text is returned as it is. The carrier is set if there was a header.
    """
    for pattern in (_ASSIGNED, _QUOTED):
        if match := pattern.fullmatch(text):
            return Pasted(match["key"])
    if match := _IN_HEADER.fullmatch(text):
        return Pasted(match["key"], _carrier_before(match["head"]))
    return Pasted(text)
