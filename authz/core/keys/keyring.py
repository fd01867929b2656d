"""Key text: mint, parse, prove. The only file that handles secret text.

    {prefix}_{env}_{kid}_{pepper version}{secret}{tag}{checksum}
    ak_live_7Hk2mQ9xT4bVzR1c_1…            base62, lengths 16, 1, 43, 11, 6

Rules:
1. Key text leaves this file only as `Minted.text`, which the caller shows once and forgets.
2. Nothing here shows key text, a digest or a pepper in `repr`, in a message or in an exception.
3. Parsing is strict: one alphabet, exact lengths, nothing trimmed, nothing folded.
4. Every comparison with something secret takes the same time whatever it compares.
5. The checksum needs no secret (scanners use it), the tag needs the pepper (a forged key costs no
   I/O); the digest alone proves a key against its record.
6. A key of somebody else's make, an imported one, is any text that cannot be taken for ours. It
   says nothing of itself: its digest, under each of our peppers, is what it is found by.
"""

import hmac
import re
import secrets
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Literal

from authz.core.errors import BadInput
from authz.core.keys import base62

ENVIRONMENTS: Final = ("live", "test")
KID_LENGTH: Final = 16
SECRET_LENGTH: Final = 43  # 62**43 > 2**256
TAG_LENGTH: Final = 11  # 62**11 > 2**64
CHECKSUM_LENGTH: Final = 6  # 62**6 > 2**32
DIGEST_LENGTH: Final = 32  # bytes
MIN_PEPPER_BYTES: Final = 32
_PROOFS_LENGTH: Final = TAG_LENGTH + CHECKSUM_LENGTH
_TAG_BYTES: Final = 8
_MAX_TAG: Final = (1 << 8 * _TAG_BYTES) - 1

PREFIX_PATTERN: Final = re.compile(r"[a-z][a-z0-9]{1,11}", re.ASCII)
KID_PATTERN: Final = re.compile(rf"[0-9A-Za-z]{{{KID_LENGTH}}}", re.ASCII)
# A key of any prefix, whole or not, up to its kid; and what is secret of it.
_KEY_IN_TEXT: Final = re.compile(
    rf"({PREFIX_PATTERN.pattern}_(?:{'|'.join(ENVIRONMENTS)})_[0-9A-Za-z]{{{KID_LENGTH}}}_)"
    r"[0-9A-Za-z]+",
    re.ASCII,
)
IMPORTED_PATTERN: Final = re.compile(r"[A-Za-z0-9_.~+/=-]{16,256}", re.ASCII)

# What is wrong with a key's text. checksum: it is mistyped or cut off. tag: it was not made with a
# pepper that is known here.
Flaw = Literal["checksum", "tag"]


def new_kid() -> str:
    """A kid that no key has: 95 bits from the CSPRNG."""
    return "".join(secrets.choice(base62.DIGITS) for _ in range(KID_LENGTH))


def checksum(text: str) -> str:
    """CRC32 of `text` in base62. Needs no secret; proves nothing but that the text is whole."""
    return base62.encode(zlib.crc32(text.encode()), CHECKSUM_LENGTH)


def hkdf_sha256(secret: bytes, info: bytes, length: int = 32) -> bytes:
    """RFC 5869 HKDF with SHA-256 and an empty salt, for at most 32 bytes."""
    pseudorandom_key = hmac.digest(bytes(32), secret, "sha256")
    return hmac.digest(pseudorandom_key, info + b"\x01", "sha256")[:length]


class _Mac:
    """HMAC-SHA-256 (RFC 2104) under one key.

    From two states that hold the key already: half the cost of `hmac.digest`, which is a tenth of
    a whole Check.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        block = key.ljust(sha256().block_size, b"\0")
        self._inner = sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = sha256(bytes(byte ^ 0x5C for byte in block))

    def __call__(self, text: bytes) -> bytes:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(text)
        outer.update(inner.digest())
        return outer.digest()


@dataclass(frozen=True, slots=True)
class Pepper:
    """One server secret, expanded into separate keys for separate uses (RFC 5869)."""

    version: str
    fingerprint: str
    tag_key: bytes = field(repr=False)
    digest_key: bytes = field(repr=False)
    snapshot_key: bytes = field(repr=False)
    tag: _Mac = field(init=False, repr=False, compare=False)  # the first 64 bits of it are used
    digest: _Mac = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tag", _Mac(self.tag_key))
        object.__setattr__(self, "digest", _Mac(self.digest_key))

    @classmethod
    def expand(cls, version: str, secret: bytes) -> "Pepper":
        """Raises BadInput when the version is not one base62 character or the secret is short."""
        if len(version) != 1 or version not in base62.DIGITS:
            raise BadInput("keys.peppers", "a version is one character of 0-9 A-Z a-z, such as 1")
        if len(secret) < MIN_PEPPER_BYTES:
            raise BadInput(
                "keys.peppers",
                f"pepper {version} has {len(secret)} bytes, at least {MIN_PEPPER_BYTES} are needed",
            )
        return cls(
            version=version,
            fingerprint=hkdf_sha256(secret, b"authz pepper fingerprint", 16).hex(),
            tag_key=hkdf_sha256(secret, b"authz key tag"),
            digest_key=hkdf_sha256(secret, b"authz key digest"),
            snapshot_key=hkdf_sha256(secret, b"authz cache snapshot"),
        )


class Presented:
    """A key as a caller presented it: its shape is right, nothing else is known."""

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
        """The digest a record would hold for this key; empty when its pepper is not known here."""
        if self._pepper is None:
            return b""
        return self._pepper.digest(self._text)

    def flaw(self) -> Flaw | None:
        """What is wrong with it, as far as that can be told without asking anyone.

        Without a loop over the digits, which takes a fifth longer: in a flood of forged keys this
        is a tenth of all the work.
        """
        digits = self._text[-_PROOFS_LENGTH:].translate(base62.VALUES)
        a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q = digits  # noqa: E741
        given_checksum = ((((l * 62 + m) * 62 + n) * 62 + o) * 62 + p) * 62 + q
        if given_checksum != zlib.crc32(self._text[:-CHECKSUM_LENGTH]):
            return "checksum"
        high = (((a * 62 + b) * 62 + c) * 62 + d) * 62 + e
        given = high * 62**6 + ((((f * 62 + g) * 62 + h) * 62 + i) * 62 + j) * 62 + k
        if self._pepper is None or given > _MAX_TAG:
            return "tag"
        # The given one is read, the right one not written: the caller knows how long that takes.
        right = self._pepper.tag(self._text[:-_PROOFS_LENGTH])[:_TAG_BYTES]
        return None if hmac.compare_digest(given.to_bytes(_TAG_BYTES), right) else "tag"


class Imported:
    """A key of somebody else's make, as a caller presented it. Nothing is known of it."""

    __slots__ = ("_peppers", "_text")

    def __init__(self, text: bytes, peppers: Sequence[Pepper]) -> None:
        self._text = text
        self._peppers = peppers

    def __repr__(self) -> str:
        return "Imported()"

    def digests(self) -> Iterator[tuple[str, bytes]]:
        """Pepper version and digest, newest first. A record holds one of these."""
        for pepper in self._peppers:
            yield pepper.version, pepper.digest(self._text)


class Alias:
    """An imported key that was found: whose record it opens, if the digest proves it."""

    __slots__ = ("_digest", "kid")

    def __init__(self, kid: str, digest: bytes) -> None:
        self.kid = kid
        self._digest = digest

    def __repr__(self) -> str:
        return f"Alias(kid={self.kid!r})"

    def digest(self) -> bytes:
        """The digest that it was found by."""
        return self._digest


@dataclass(frozen=True, slots=True)
class Minted:
    """A new key. `text` is the only copy there will ever be."""

    kid: str
    env: str
    pepper_version: str
    text: str = field(repr=False)
    digest: bytes = field(repr=False)


class Keyring:
    """The prefix and the peppers of one installation. The newest pepper, the last, mints."""

    def __init__(self, prefix: str, peppers: Sequence[Pepper]) -> None:
        if not PREFIX_PATTERN.fullmatch(prefix):
            raise BadInput("keys.prefix", "2 to 12 characters, a letter first, such as ak")
        if not peppers:
            raise BadInput("keys.peppers", "no pepper is configured; `authz init` makes one")
        self._peppers = {pepper.version: pepper for pepper in peppers}
        if len(self._peppers) != len(peppers):
            raise BadInput("keys.peppers", "two peppers have the same version")
        self._newest = peppers[-1]
        self._newest_first = tuple(reversed(peppers))
        self._start = f"{prefix}_"
        self._reserved = tuple(f"{prefix}_{env}_" for env in ENVIRONMENTS)
        self._shown = re.compile("|".join(self._reserved), re.ASCII)
        self._shape = re.compile(
            rf"{prefix}_({'|'.join(ENVIRONMENTS)})_([0-9A-Za-z]{{{KID_LENGTH}}})_([0-9A-Za-z])"
            rf"[0-9A-Za-z]{{{SECRET_LENGTH + TAG_LENGTH + CHECKSUM_LENGTH}}}",
            re.ASCII,
        )

    @property
    def fingerprints(self) -> dict[str, str]:
        """Pepper version -> fingerprint. Public: it tells peppers apart and reveals nothing."""
        return {version: pepper.fingerprint for version, pepper in self._peppers.items()}

    @property
    def snapshot_keys(self) -> list[bytes]:
        """What a snapshot of the cache may be signed with; the newest, the last, signs."""
        return [pepper.snapshot_key for pepper in self._peppers.values()]

    def claims(self, text: str) -> bool:
        """Does `text` look like one of ours, well-formed or not?"""
        return text.startswith(self._start)

    def shows_key(self, text: str) -> bool:
        """Does a key of ours, well-formed or not, begin anywhere in `text`?"""
        return self._shown.search(text) is not None

    def parse(self, text: str) -> Presented | None:
        """Read key text; None when its shape is wrong. Proves nothing."""
        match = self._shape.fullmatch(text)
        if match is None:
            return None
        env, kid, version = match.groups()
        return Presented(text.encode(), env, kid, version, self._peppers.get(version))

    def parse_imported(self, text: str) -> Imported | None:
        """Read text that is not ours; None when it is, or when no imported key can look so."""
        if text.startswith(self._reserved) or IMPORTED_PATTERN.fullmatch(text) is None:
            return None
        return Imported(text.encode(), self._newest_first)

    def mint(self, env: str, kid: str | None = None) -> Minted:
        """A new secret for `kid`, or for a new kid (16 characters from the CSPRNG)."""
        kid = kid or new_kid()
        secret = base62.encode(int.from_bytes(secrets.token_bytes(32)), SECRET_LENGTH)
        text = f"{self._start}{env}_{kid}_{self._newest.version}{secret}"
        tag = self._newest.tag(text.encode())[:_TAG_BYTES]
        text += base62.encode(int.from_bytes(tag), TAG_LENGTH)
        text += checksum(text)
        presented = self.parse(text)
        if presented is None:
            raise BadInput("env", f"one of {', '.join(ENVIRONMENTS)}")
        return Minted(kid, env, self._newest.version, text, presented.digest())


def without_secrets(text: str) -> str:
    """`text` with the secret part of every key of our make taken out; its kid stays."""
    return _KEY_IN_TEXT.sub(r"\1...", text)


def matches(presented_digest: bytes, stored_digest: bytes) -> bool:
    """Compare two digests in constant time. An empty digest matches nothing."""
    return len(stored_digest) == DIGEST_LENGTH and hmac.compare_digest(
        presented_digest, stored_digest
    )
