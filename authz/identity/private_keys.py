"""Private halves of signing keys, sealed under the pepper (AES-256-GCM) for the store.

PEPPER:BASE64URL(nonce, ciphertext)      bound to the key id and to the public half
"""

import os
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from authz.core.errors import Unreadable
from authz.core.tokens.signing_keys import SigningKey
from authz.core.tokens.text import decoded, encoded
from authz.identity.es256 import PrivateKey

_NONCE: Final = 12  # bytes


class PrivateKeys:
    """Seals and opens private keys. keys: of 32 bytes, by pepper version."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._ciphers = {version: AESGCM(key) for version, key in keys.items()}

    def seal(self, private: PrivateKey, public: SigningKey) -> str:
        """Return the sealed private half, under the pepper that `public` names."""
        nonce = os.urandom(_NONCE)
        cipher = self._ciphers[public.pepper]
        sealed = cipher.encrypt(nonce, private.secret(), _bound(public))
        return f"{public.pepper}:{encoded(nonce + sealed)}"

    def open(self, sealed: str | None, public: SigningKey) -> PrivateKey:
        """Return the private half of `public`.

        Raises Unreadable if it is missing or was sealed for another key or under another pepper.
        """
        version, _, text = (sealed or "").partition(":")
        cipher, raw = self._ciphers.get(version), decoded(text)
        if cipher is None or raw is None:
            raise Unreadable(f"the signing key {public.key_id} has no private half for our peppers")
        try:
            secret = cipher.decrypt(raw[:_NONCE], raw[_NONCE:], _bound(public))
            private = PrivateKey.of(secret)
        except (InvalidTag, ValueError):
            raise Unreadable(f"the private half of {public.key_id} is damaged") from None
        if (private.x, private.y) != (public.x, public.y):
            raise Unreadable(f"the halves of {public.key_id} do not belong together")
        return private


def _bound(public: SigningKey) -> bytes:
    return public.key_id.encode() + public.x + public.y
