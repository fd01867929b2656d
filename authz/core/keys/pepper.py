"""Pepper: one server secret, expanded into a separate key for each use (RFC 5869)."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from authz.core.errors import BadInput
from authz.core.keys import base62

MIN_PEPPER_BYTES: Final = 32


def hkdf_sha256(secret: bytes, info: bytes, length: int = 32) -> bytes:
    """Return `length` bytes, at most 32, of RFC 5869 HKDF with SHA-256 and an empty salt."""
    pseudorandom_key = hmac.digest(bytes(32), secret, "sha256")
    return hmac.digest(pseudorandom_key, info + b"\x01", "sha256")[:length]


Mac = Callable[[bytes], bytes]


def hmac_sha256(key: bytes) -> Mac:
    """Return HMAC-SHA-256 (RFC 2104) under a key of at most 64 bytes, as a function.

    The function copies two hash states that have absorbed the key. This costs a third of
    `hmac.digest`, which would be a tenth of a whole Check.
    """
    block = key.ljust(sha256().block_size, b"\0")
    new_inner = sha256(bytes(byte ^ 0x36 for byte in block)).copy
    new_outer = sha256(bytes(byte ^ 0x5C for byte in block)).copy

    def digest(text: bytes) -> bytes:
        inner, outer = new_inner(), new_outer()
        inner.update(text)
        outer.update(inner.digest())
        return outer.digest()

    return digest


@dataclass(frozen=True, slots=True)
class Pepper:
    """The keys of one pepper. `tag` and `digest` are the MACs; a tag uses the first 64 bits.

    `digest_of_hash` is the MAC of the SHA-256 of an imported key. fingerprint: 32 hexadecimal
    digits. All keys have 32 bytes. The secret itself is not kept.
    """

    version: str
    fingerprint: str
    tag_key: bytes = field(repr=False)
    digest_key: bytes = field(repr=False)
    snapshot_key: bytes = field(repr=False)
    backup_key: bytes = field(repr=False)
    trail_key: bytes = field(repr=False)
    request_key: bytes = field(repr=False)
    page_key: bytes = field(repr=False)
    session_key: bytes = field(repr=False)
    hash_key: bytes = field(repr=False)
    record_key: bytes = field(repr=False)
    entry_key: bytes = field(repr=False)
    applied_key: bytes = field(repr=False)
    token_key: bytes = field(repr=False)
    signing_entry_key: bytes = field(repr=False)
    signing_seal_key: bytes = field(repr=False)
    assertion_seed: bytes = field(repr=False)
    tag: Mac = field(init=False, repr=False, compare=False)
    digest: Mac = field(init=False, repr=False, compare=False)
    digest_of_hash: Mac = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tag", hmac_sha256(self.tag_key))
        object.__setattr__(self, "digest", hmac_sha256(self.digest_key))
        object.__setattr__(self, "digest_of_hash", hmac_sha256(self.hash_key))

    @classmethod
    def expand(cls, version: str, secret: bytes) -> "Pepper":
        """Derive the keys of a pepper from its secret.

        Raises BadInput if the version is not one base62 character or the secret is under 32 bytes.
        """
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
            backup_key=hkdf_sha256(secret, b"authz store backup"),
            trail_key=hkdf_sha256(secret, b"authz audit trail"),
            request_key=hkdf_sha256(secret, b"authz repeatable request"),
            page_key=hkdf_sha256(secret, b"authz page token"),
            session_key=hkdf_sha256(secret, b"authz console session"),
            hash_key=hkdf_sha256(secret, b"authz imported hash"),
            record_key=hkdf_sha256(secret, b"authz key record"),
            entry_key=hkdf_sha256(secret, b"authz sidecar entry"),
            applied_key=hkdf_sha256(secret, b"authz applied fields"),
            token_key=hkdf_sha256(secret, b"authz token tag"),
            signing_entry_key=hkdf_sha256(secret, b"authz signing key entry"),
            signing_seal_key=hkdf_sha256(secret, b"authz signing key seal"),
            assertion_seed=hkdf_sha256(secret, b"authz assertion key"),
        )
