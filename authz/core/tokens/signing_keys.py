"""Signing keys of tokens: their entries in the store, and the times at which they count.

    PEPPER:CREATED:SIGNS_FROM:X:Y:MAC      times in ms, X and Y in base64url

Rules:
1. A key is published before it signs, so that everybody who verifies has it by then.
2. The key that signs is the one that began last. Its predecessor verifies until the last token
   that it signed has expired. Both follow from the entries and the time alone.
3. The MAC is under the pepper, so a writer of the store without it cannot add a key.
4. The private half lies elsewhere, sealed; see identity/private_keys.py.
"""

import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from authz.core.keys.pepper import hmac_sha256
from authz.core.tokens.text import LEEWAY, MAX_LIFETIME, decoded, encoded

AHEAD_MS: Final = 900_000  # a new key is published for so long before it signs
AT_ONCE_MS: Final = 2_000  # the same in an emergency: two default trust leases of the sidecars
KEPT_MS: Final = (MAX_LIFETIME + LEEWAY) * 1000  # after a key has signed for the last time
COORDINATE_BYTES: Final = 32

_MAC_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The public half of a key for ES256: the point (x, y), 32 bytes each. Times in ms.

    pepper: the version of the pepper that sealed it.
    """

    key_id: str
    x: bytes
    y: bytes
    created_at: int
    signs_from: int
    pepper: str

    def as_jwk(self) -> dict[str, str]:
        """Return the key as a JSON Web Key (RFC 7517, RFC 7518 section 6.2.1)."""
        return public_jwk(self.key_id, self.x, self.y)


def public_jwk(key_id: str, x: bytes, y: bytes) -> dict[str, str]:
    """Return a public key for ES256 as a JSON Web Key (RFC 7517, RFC 7518 section 6.2.1)."""
    return {
        "kty": "EC",
        "crv": "P-256",
        "x": encoded(x),
        "y": encoded(y),
        "kid": key_id,
        "use": "sig",
        "alg": "ES256",
    }


class SigningKeyEntries:
    """Writes and reads entries. keys: for the MAC, by pepper version; the newest is last."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._macs = {version: hmac_sha256(key) for version, key in keys.items()}
        self.newest = list(self._macs)[-1]

    def write(self, key: SigningKey) -> str:
        """Return the entry of a key. Its `pepper` must be one of ours."""
        body = ":".join(
            (
                key.pepper,
                str(key.created_at),
                str(key.signs_from),
                encoded(key.x),
                encoded(key.y),
            )
        )
        return f"{body}:{self._mac(key.pepper, key.key_id, body)}"

    def read(self, key_id: str, entry: str) -> SigningKey | None:
        """Return the key of an entry; None if it cannot be read or its MAC is wrong."""
        body, _, mac = entry.rpartition(":")
        parts = body.split(":")
        if len(parts) != 5 or parts[0] not in self._macs:  # noqa: PLR2004
            return None
        right = self._mac(parts[0], key_id, body)
        if not hmac.compare_digest(right.encode(), mac.encode(errors="replace")):
            return None
        pepper, created, signs_from, *point = parts
        x, y = (decoded(one) or b"" for one in point)
        return SigningKey(key_id, x, y, int(created), int(signs_from), pepper)

    def read_all(self, entries: Mapping[str, str]) -> tuple[SigningKey, ...]:
        """Return the readable keys, the one that signs last at the end. entries: by key id."""
        found = (self.read(key_id, entry) for key_id, entry in entries.items())
        return ordered(key for key in found if key is not None)

    def _mac(self, pepper: str, key_id: str, body: str) -> str:
        return encoded(self._macs[pepper](f"{key_id}:{body}".encode())[:_MAC_BYTES])


def ordered(keys: Iterable[SigningKey]) -> tuple[SigningKey, ...]:
    """Return the keys in the order in which they begin to sign."""
    return tuple(sorted(keys, key=lambda key: (key.signs_from, key.key_id)))


def signer(keys: Sequence[SigningKey], now: int) -> SigningKey | None:
    """Return the key that signs at `now` (ms), or None. keys: in the order of `ordered`."""
    begun = [key for key in keys if key.signs_from <= now]
    return begun[-1] if begun else None


def ends(keys: Sequence[SigningKey]) -> Mapping[str, int]:
    """Return by key id when a key stops to verify (ms). A key without a successor has no end.

    It is KEPT_MS (15.5 min) after its successor begins to sign. keys: in the order of `ordered`.
    """
    pairs = pairwise(keys)
    return {key.key_id: successor.signs_from + KEPT_MS for key, successor in pairs}


def verifying(keys: Sequence[SigningKey], now: int) -> tuple[SigningKey, ...]:
    """Return the keys that verify at `now` (ms), also those that will sign later."""
    until = ends(keys)
    return tuple(key for key in keys if now < until.get(key.key_id, now + 1))
