"""ES256 (RFC 7518 section 3.4): keys, signatures and their verification for our own tokens.

A signature has one form: s is at most half of the order of P-256. Everybody can turn a signature
(r, s) into (r, n - s), so a text with the larger s is refused.
"""

from collections.abc import Callable
from hashlib import sha512
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA256

from authz.core.errors import Unreadable

ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_HASH: Final = ec.ECDSA(SHA256())
_BYTES: Final = 32
_LARGEST_S: Final = ORDER // 2

Verify = Callable[[bytes, bytes], bool]
"""Returns whether the second argument, 64 bytes, is the signature of the first."""


class PrivateKey:
    """A private key. `x` and `y`: its public point, 32 bytes each."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        point = key.public_key().public_numbers()
        self.x, self.y = point.x.to_bytes(_BYTES), point.y.to_bytes(_BYTES)

    def __repr__(self) -> str:
        return "PrivateKey()"

    @classmethod
    def generate(cls) -> "PrivateKey":
        """Return a new random key."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def of(cls, secret: bytes) -> "PrivateKey":
        """Return the key of a secret, as `secret` returns it. Raises ValueError for another one."""
        return cls(ec.derive_private_key(int.from_bytes(secret), ec.SECP256R1()))

    @classmethod
    def derived(cls, seed: bytes) -> "PrivateKey":
        """Return the key that follows from a secret seed of 32 bytes (FIPS 186-5, A.2.1)."""
        number = int.from_bytes(sha512(seed).digest()) % (ORDER - 1) + 1
        return cls.of(number.to_bytes(_BYTES))

    def secret(self) -> bytes:
        """Return the secret number, 32 bytes. It must be sealed before it goes anywhere."""
        return self._key.private_numbers().private_value.to_bytes(_BYTES)

    def sign(self, text: bytes) -> bytes:
        """Return the signature, r and s of 32 bytes each."""
        r, s = decode_dss_signature(self._key.sign(text, _HASH))
        return r.to_bytes(_BYTES) + min(s, ORDER - s).to_bytes(_BYTES)


def verifier(x: bytes, y: bytes) -> Verify:
    """Return the verification by the public key at this point. Raises Unreadable if it is none."""
    try:
        point = ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), ec.SECP256R1())
        key = point.public_key()
    except ValueError:
        raise Unreadable("the signing key is no point of P-256") from None

    def verify(text: bytes, signature: bytes) -> bool:
        s = int.from_bytes(signature[_BYTES:])
        if s > _LARGEST_S:
            return False
        try:  # which refuses numbers that are 0 or too large
            key.verify(encode_dss_signature(int.from_bytes(signature[:_BYTES]), s), text, _HASH)
        except InvalidSignature:
            return False
        return True

    return verify
