"""The SHA-256 of a key, as other systems write it."""

import base64
import binascii
import re
from typing import Final

from authz.core.errors import BadInput
from authz.core.keys.credentials import DIGEST_LENGTH

_HEX_HASH: Final = re.compile(r"(?:sha-?256[:-])?([0-9A-Fa-f]{64})", re.ASCII | re.IGNORECASE)
_BASE64_HASH: Final = re.compile(
    r"(?:sha-?256[:-])?([A-Za-z0-9+/_-]{43})=?", re.ASCII | re.IGNORECASE
)
_URL_SAFE: Final = str.maketrans("-_", "+/")


def is_hash_like(text: str) -> bool:
    """Return whether a key could be the SHA-256 of a key.

    That is 64 hexadecimal digits, also after `sha256:`, or 44 characters of base64 with the `=`.
    """
    return _HEX_HASH.fullmatch(text) is not None or (
        len(text) == len(base64.b64encode(bytes(DIGEST_LENGTH)))
        and _BASE64_HASH.fullmatch(text) is not None
    )


def sha256_of(text: str) -> bytes:
    """Return the 32 bytes of a SHA-256 in hexadecimal digits or in base64.

    A `sha256:` before it is skipped. Base64 may be URL-safe, and may lack its `=`. Raises BadInput
    for other text.
    """
    if match := _HEX_HASH.fullmatch(text):
        return bytes.fromhex(match[1])
    match = _BASE64_HASH.fullmatch(text)
    try:
        found = base64.b64decode(f"{match[1].translate(_URL_SAFE)}=") if match else b""
    except binascii.Error:
        found = b""
    if len(found) != DIGEST_LENGTH:
        raise BadInput("sha256", "")
    return found
