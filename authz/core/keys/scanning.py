"""Find keys in any bytes: files, blocks of large files, objects of a git repository."""

import math
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from authz.core.keys import base62
from authz.core.keys.text import (
    CHECKSUM_LENGTH,
    ENVIRONMENTS,
    KID_LENGTH,
    PROOFS_LENGTH,
    SECRET_LENGTH,
    without_secrets,
)

BODY_LENGTH: Final = 1 + SECRET_LENGTH + PROOFS_LENGTH  # the pepper version, too
OVERLAP: Final = 320  # bytes of the block before; more than any key and the character before it
MIN_POSSIBLE: Final = 16  # characters of a text that may be an imported key
_MAX_POSSIBLE: Final = 256
_BESIDE: Final = MIN_POSSIBLE + 1  # bytes from a shortest imported key to one after a sign
MAX_READINGS: Final = 16  # of one text that may be an imported key
_IMPORTED: Final = "A-Za-z0-9_.~+/="
# These may belong to an imported key, or to the text around it, such as a full stop or a URL.
_SIGN: Final = re.compile(r"[.~+/=]")
_HIDDEN: Final = "..."


@dataclass(frozen=True, slots=True)
class Sighting:
    """A text that is a key, or may be one. start, end: offsets in the searched bytes.

    env, kid: empty if the text only may be an imported key. shown: the text without its secret.
    public: it is publishable, so it is no leak.
    """

    start: int
    end: int
    env: str
    kid: str
    shown: str
    _text: str = field(repr=False)
    public: bool = False

    @property
    def is_possible(self) -> bool:
        """Whether the text has no checksum: it begins like an imported key."""
        return not self.kid

    def reveal(self) -> str:
        """Return the text, to look the key up. It must go nowhere else."""
        return self._text

    @property
    def readings(self) -> tuple[str, ...]:
        """The texts to look up, the longest first. They must go nowhere else.

        One for a key with a checksum. For a text that may be an imported key at most MAX_READINGS
        (16): whole, and without one of its signs and what follows it. Of many signs the first and
        the last ones count.
        """
        ends = [at.start() for at in _SIGN.finditer(self._text, MIN_POSSIBLE)]
        if self.kid or not ends:
            return (self._text,)
        few = MAX_READINGS // 2
        chosen = {*ends[:few], *ends[1 - few :]}
        return (self._text, *(self._text[:end] for end in sorted(chosen, reverse=True)))


class KeyScanner:
    """Finds keys by their prefix and checksum, and texts with a declared prefix.

    A key is found wherever it stands: also in the middle of a word, and between binary data. A
    random text passes the checksum with a chance of 1 in 4e9. imported_prefixes: the declared
    beginnings of imported keys. A text with one must stand at the beginning of a word, perhaps
    after an escape such as `\\n` or `%3D`.
    public_prefix: of publishable keys; empty if there are none.
    """

    def __init__(
        self,
        prefixes: Sequence[str],
        imported_prefixes: Sequence[str] = (),
        *,
        public_prefix: str = "",
    ) -> None:
        every = [*prefixes, public_prefix] if public_prefix else prefixes
        self._shapes = [(f"{one}_".encode(), _shape(one), one == public_prefix) for one in every]
        self._possible = [(one, _possible(one)) for one in imported_prefixes]
        declared = "|".join(map(re.escape, imported_prefixes))
        self.beginnings = (
            *(start for start, _, _ in self._shapes),
            *(one.encode() for one in imported_prefixes),
        )
        """Bytes that hold none of these texts hold no key."""
        self._in_text = re.compile(rf"({declared})[{_IMPORTED}-]{{8,}}") if declared else None

    def find(
        self, data: bytes | bytearray, end: int, seen: int = 0, *, is_last: bool = True
    ) -> Iterator[Sighting]:
        """Yield the keys in the first `end` bytes, by kind, each kind in its order.

        seen: the first bytes that an earlier call has searched, at most OVERLAP (320); keys that
        end there are left out. is_last: False if more bytes follow. Then a text that reaches the
        end and has no fixed length is left to the next call.
        """
        for start, shape, public in self._shapes:
            if data.find(start, 0, end) >= 0:
                yield from _keys(data, end, seen, start, shape, public=public)
        for prefix, shape in self._possible:
            if data.find(prefix.encode(), 0, end) >= 0:
                shown = f"{prefix}{_HIDDEN}"
                found = _possibles(data, end, seen, shape, shown, is_last=is_last)
                yield from (one for one in found if not self._is_ours(one.reveal().encode()))

    def _is_ours(self, text: bytes) -> bool:
        """Return whether a possible key is a publishable one, which has been found by its shape."""
        shapes = (shape for _, shape, public in self._shapes if public)
        return any(m is not None and has_checksum(m[0]) for m in (s.match(text) for s in shapes))

    def masked(self, text: str) -> str:
        """Return `text` with `...` in place of the secret part of every key in it."""
        text = without_secrets(text)
        return self._in_text.sub(rf"\1{_HIDDEN}", text) if self._in_text else text


def key_pattern(prefix: str) -> str:
    """Return a regular expression for keys with this prefix, without their checksum.

    It has no groups and uses no feature beyond RE2.
    """
    environments = "|".join(ENVIRONMENTS)
    return rf"{prefix}_(?:{environments})_[0-9A-Za-z]{{{KID_LENGTH}}}_[0-9A-Za-z]{{{BODY_LENGTH}}}"


def has_checksum(text: bytes) -> bool:
    """Return whether the last 6 characters of a key are the checksum of those before."""
    given = 0
    for value in text[-CHECKSUM_LENGTH:].translate(base62.VALUES):
        given = given * 62 + value
    return given == zlib.crc32(text[:-CHECKSUM_LENGTH])


def _shape(prefix: str) -> re.Pattern[bytes]:
    return re.compile(key_pattern(prefix).encode())


def _possible(prefix: str) -> re.Pattern[bytes]:
    rest = f"{{{max(1, MIN_POSSIBLE - len(prefix))},{_MAX_POSSIBLE - len(prefix)}}}"
    start = re.escape(prefix)
    begins = rf"(?:(?<![0-9A-Za-z_-]{start})|(?<=\\[nrt]{start})|(?<=%[0-9A-Fa-f]{{2}}{start}))"
    # The search is fast with a text in front. It goes on behind that text: the rest of a URL that
    # begins like a key may hold one.
    pattern = rf"{start}{begins}(?=([{_IMPORTED}-]{rest}))"
    return re.compile(pattern.encode())


def _keys(
    data: bytes | bytearray,
    end: int,
    seen: int,
    start: bytes,
    shape: re.Pattern[bytes],
    *,
    public: bool,
) -> Iterator[Sighting]:
    at = data.find(start, 0, end)
    while at >= 0:
        match = shape.match(data, at, end)
        after = at + 1  # the text of a damaged key may hold the beginning of another one
        if match is not None and has_checksum(match[0]):
            after = match.end()
            if after > seen:
                text = match[0].decode("ascii")
                _, env, kid, _ = text.split("_")
                yield Sighting(at, after, env, kid, without_secrets(text), text, public)
        at = data.find(start, after, end)


def _possibles(
    data: bytes | bytearray,
    end: int,
    seen: int,
    shape: re.Pattern[bytes],
    shown: str,
    *,
    is_last: bool,
) -> Iterator[Sighting]:
    """Yield the texts that begin with the prefix of `shape` and are long enough.

    They may overlap. A text is not found if it begins close behind another beginning and close
    before a third. It would be too short for a key, or hold the third. So there is at most one text
    for each 8 bytes.
    """
    before = -_BESIDE
    for match, after in _with_next(shape.finditer(data, 0, end)):
        start, last = match.start(), match.end(1)
        is_among_others = start - before < _BESIDE and after - start < _BESIDE
        before = start
        is_cut_off = last == end and not is_last
        # One that ends at `seen` was cut off before.
        if last >= seen and not is_cut_off and not is_among_others:
            text = data[start:last].decode("ascii")
            yield Sighting(start, last, "", "", shown, text)


def _with_next(
    matches: Iterator[re.Match[bytes]],
) -> Iterator[tuple[re.Match[bytes], float]]:
    """Yield each match, and where the next one starts; infinity for the last one."""
    match = next(matches, None)
    while match is not None:
        after = next(matches, None)
        yield match, after.start() if after else math.inf
        match = after
