"""Seed: random bytes from which the answer to a repeatable request follows.

The store keeps the seed of a request for a day. The secret of a key follows from the seed and from
a pepper (HMAC as a pseudorandom function, RFC 2104), so neither of them reveals it alone. Without
the seed no pepper brings an old secret back.
"""

import hmac
from dataclasses import dataclass, field
from typing import Final

from authz.core.keys import base62
from authz.core.keys.pepper import Pepper
from authz.core.keys.text import KID_LENGTH

KIDS: Final = 62**KID_LENGTH


@dataclass(frozen=True, slots=True)
class Seed:
    """32 random bytes, and the version of the pepper to use with them."""

    random: bytes = field(repr=False)
    pepper_version: str

    def secret(self, pepper: Pepper) -> bytes:
        """Return the 32 bytes of a key's secret, always the same ones.

        pepper: the one of `pepper_version`, which is not checked.
        """
        return self._derived(pepper, b"secret")

    def kid(self, pepper: Pepper) -> str:
        """Return the kid of a new key, always the same one. pepper: as of `secret`."""
        return base62.encode(int.from_bytes(self._derived(pepper, b"kid")) % KIDS, KID_LENGTH)

    def change_id(self, pepper: Pepper) -> str:
        """Return the id of the change, always the same one: 32 hexadecimal digits. It is public."""
        return self._derived(pepper, b"change")[:16].hex()

    def _derived(self, pepper: Pepper, use: bytes) -> bytes:
        return hmac.digest(pepper.request_key, use + b"\0" + self.random, "sha256")
