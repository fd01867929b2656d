"""Keys as callers present them and as we mint them. No type here shows its text or digest."""

import hmac
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Literal

from authz.core.keys import base62
from authz.core.keys.pepper import Pepper
from authz.core.keys.text import CHECKSUM_LENGTH, MAX_TAG, PROOFS_LENGTH, TAG_BYTES

DIGEST_LENGTH: Final = 32  # bytes

# checksum: the text is mistyped or cut off. tag: it was not made with a pepper that we have.
Flaw = Literal["checksum", "tag"]


class Presented:
    """A key in our format, as a caller presented it. Only its shape is known to be right."""

    __slots__ = ("_pepper", "_text", "env", "kid", "pepper_version")

    def __init__(
        self, text: bytes, env: str, kid: str, pepper_version: str, pepper: Pepper | None
    ) -> None:
        self._text = text
        self._pepper = pepper
        self.env = env
        self.kid = kid
        self.pepper_version = pepper_version

    def __repr__(self) -> str:
        return f"Presented(kid={self.kid!r})"

    def digest(self) -> bytes:
        """Return the digest of the text, to compare with the record's; empty without the pepper."""
        if self._pepper is None:
            return b""
        return self._pepper.digest(self._text)

    def flaw(self) -> Flaw | None:
        """Return `checksum`, `tag`, or None if no flaw can be found without I/O.

        The checksum is checked first. `tag` also if we lack the pepper. The digits are unpacked by
        hand, because a loop takes a fifth longer. In a flood of forged keys this method is a tenth
        of all the work.
        """
        digits = self._text[-PROOFS_LENGTH:].translate(base62.VALUES)
        a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q = digits  # noqa: E741
        given_checksum = ((((l * 62 + m) * 62 + n) * 62 + o) * 62 + p) * 62 + q
        if given_checksum != zlib.crc32(self._text[:-CHECKSUM_LENGTH]):
            return "checksum"
        high = (((a * 62 + b) * 62 + c) * 62 + d) * 62 + e
        given = high * 62**6 + ((((f * 62 + g) * 62 + h) * 62 + i) * 62 + j) * 62 + k
        if self._pepper is None or given > MAX_TAG:
            return "tag"
        # We decode the given tag and do not encode the right one: the time that decoding takes
        # depends only on text that the caller knows.
        right = self._pepper.tag(self._text[:-PROOFS_LENGTH])[:TAG_BYTES]
        return None if hmac.compare_digest(given.to_bytes(TAG_BYTES), right) else "tag"


class Imported:
    """A key made by another system, as a caller presented it. Nothing is known about it."""

    __slots__ = ("_known", "_peppers", "_text")

    def __init__(self, text: bytes, peppers: Sequence[Pepper]) -> None:
        self._text = text
        self._peppers = peppers
        self._known: tuple[bytes, ...] = ()

    def __repr__(self) -> str:
        return "Imported()"

    def digests(self) -> Iterator[tuple[str, bytes]]:
        """Yield pepper version and digest of the text itself, newest pepper first.

        The record of a key that an earlier version of authz imported holds one of them.
        """
        for pepper in self._peppers:
            yield pepper.version, pepper.digest(self._text)

    def reveal(self) -> str:
        """Return the text, for an import over the admin API. It must go nowhere else."""
        return self._text.decode()

    def hashed(self) -> "ImportedHash":
        """Return the ImportedHash with the SHA-256 of the text.

        One of its digests is in the key's record.
        """
        return ImportedHash(sha256(self._text).digest(), self._peppers)

    def all_digests(self) -> Sequence[bytes]:
        """Return the digests by which the key may be found: of its text, then of its SHA-256.

        One for each pepper, newest first. They are made once.
        """
        if not self._known:
            found = (*self.digests(), *self.hashed().digests())
            self._known = tuple(digest for _, digest in found)
        return self._known


class ImportedHash:
    """The SHA-256 of a key that another system made. An import may know only this.

    The store never gets the hash: a reader of the store could try texts against it without our
    pepper.
    """

    __slots__ = ("_hash", "_peppers")

    def __init__(self, hash_of_text: bytes, peppers: Sequence[Pepper]) -> None:
        self._hash = hash_of_text
        self._peppers = peppers

    def __repr__(self) -> str:
        return "ImportedHash()"

    def reveal(self) -> bytes:
        """Return the hash, for an import over the admin API. It must go nowhere else."""
        return self._hash

    def digests(self) -> Iterator[tuple[str, bytes]]:
        """Yield pepper version and digest of the hash, newest pepper first."""
        for pepper in self._peppers:
            yield pepper.version, pepper.digest_of_hash(self._hash)


class Alias:
    """The digest of a key that was found or proved before, and the kid of its record.

    The record has to match the digest.
    """

    __slots__ = ("_digest", "kid")

    def __init__(self, kid: str, digest: bytes) -> None:
        self.kid = kid
        self._digest = digest

    def __repr__(self) -> str:
        return f"Alias(kid={self.kid!r})"

    def digest(self) -> bytes:
        """Return the digest by which the key was found or proved."""
        return self._digest


@dataclass(frozen=True, slots=True)
class Minted:
    """A new key. `text` is the only copy that will ever exist."""

    kid: str
    env: str
    pepper_version: str
    text: str = field(repr=False)
    digest: bytes = field(repr=False)


def matches(presented_digest: bytes, stored_digest: bytes) -> bool:
    """Return whether two digests are equal, in constant time.

    False if `stored_digest` has not 32 bytes: an empty digest matches nothing.
    """
    return len(stored_digest) == DIGEST_LENGTH and hmac.compare_digest(
        presented_digest, stored_digest
    )
