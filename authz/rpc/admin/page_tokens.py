"""Page tokens: opaque to clients, and bound to the list that they continue (AIP-158).

They are sealed (AES-GCM), because a position may be that of a key that the caller may not see.
"""

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from authz.core.errors import BadInput

MAX_TOKEN: Final = 512  # characters
_NONCE: Final = 12  # bytes


class PageTokens:
    """Seals positions. keys: of 32 bytes; the last one seals, each may open."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._ciphers = [AESGCM(key) for key in keys]

    def seal(self, position: str, *about: str) -> str:
        """Return the token of a position. about: the caller, the method and the filter."""
        nonce = os.urandom(_NONCE)
        sealed = self._ciphers[-1].encrypt(nonce, position.encode(), _bound(about))
        return urlsafe_b64encode(nonce + sealed).decode().rstrip("=")

    def open(self, token: str, *about: str) -> str:
        """Return the position of a token; empty for an empty one.

        Raises BadInput for a token that was not sealed under one of the keys for the same `about`.
        """
        if not token:
            return ""
        if len(token) <= MAX_TOKEN and token.isascii():
            try:
                raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
            except ValueError:
                raw = b""
            for cipher in self._ciphers:
                try:
                    return cipher.decrypt(raw[:_NONCE], raw[_NONCE:], _bound(about)).decode()
                except (InvalidTag, ValueError):
                    continue
        raise BadInput("page_token", "not the token of a page of this list; begin without one")


def _bound(about: tuple[str, ...]) -> bytes:
    return "\0".join(about).encode()
