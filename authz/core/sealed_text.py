"""Sealed texts: opaque to those who hold them, and bound to a use.

AES-256-GCM (NIST SP 800-38D) with random nonces.
"""

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE: Final = 12  # bytes


class SealedTexts:
    """Seals texts as base64url. keys: of 32 bytes; the last one seals, each may open."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._ciphers = [AESGCM(key) for key in keys]

    def seal(self, text: str, *about: str) -> str:
        """Return the sealed text. about: its use; only the same use opens it."""
        nonce = os.urandom(_NONCE)
        sealed = self._ciphers[-1].encrypt(nonce, text.encode(), _bound(about))
        return _spelled(nonce + sealed)

    def open(self, sealed: str, *about: str, most: int) -> str | None:
        """Return the text, or None if it was not sealed under one of the keys for this use.

        most: characters; a longer sealed text is refused. So is another spelling of the same bytes:
        the decoder also takes `+` for `-`, and leaves out what is no digit.
        """
        if len(sealed) > most or not sealed.isascii():
            return None
        try:
            raw = urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
        except ValueError:
            return None
        if _spelled(raw) != sealed:
            return None
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(raw[:_NONCE], raw[_NONCE:], _bound(about)).decode()
            except (InvalidTag, ValueError):
                continue
        return None


def _spelled(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _bound(about: tuple[str, ...]) -> bytes:
    return "\0".join(about).encode()
