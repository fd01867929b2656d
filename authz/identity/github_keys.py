"""GithubKeys: the keys by which GitHub signs its reports of leaked keys, kept and refreshed.

https://docs.github.com/en/code-security/secret-scanning/secret-scanning-partner-program
"""

import asyncio
import base64
import binascii
import json
import logging
from collections.abc import Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from authz.core.errors import Unavailable
from authz.core.ports import Clock
from authz.identity.signing_keys import Fetch

KEYS_URL: Final = "https://api.github.com/meta/public_keys/secret_scanning"
FETCH_PAUSE: Final = 60.0  # seconds between the beginnings of two fetches
REFRESH: Final = 1800.0  # seconds
GRACE: Final = 86_400.0  # seconds that the last keys stay in use while GitHub is down
MAX_KEYS: Final = 20
MAX_SIGNATURE: Final = 200  # characters

log = logging.getLogger("authz.leaks")


class GithubKeys:
    """Checks signatures. fetch: returns the list of keys.

    One fetch runs at a time, and none begins within FETCH_PAUSE (60 s) of the last one, whatever
    reports arrive.
    """

    def __init__(self, fetch: Fetch, clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: Mapping[str, ec.EllipticCurvePublicKey] = {}
        self._fetched = self._tried = float("-inf")
        self._fetching = asyncio.Lock()

    async def has_signed(self, key_id: str, signature: str, body: bytes) -> bool:
        """Return whether the key with this id signed the body: ECDSA over P-256 and SHA-256.

        signature: DER in base64. Raises Unavailable if the keys cannot be fetched.
        """
        if len(signature) > MAX_SIGNATURE:
            return False
        key = await self._key(key_id)
        try:
            if key is not None:
                raw = base64.b64decode(signature, validate=True)
                key.verify(raw, body, ec.ECDSA(SHA256()))
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return key is not None

    async def _key(self, key_id: str) -> ec.EllipticCurvePublicKey | None:
        if key_id not in self._keys or self._age() >= REFRESH:
            await self._refresh()
        if self._age() >= GRACE:
            raise Unavailable("the keys of GitHub cannot be fetched")
        return self._keys.get(key_id)

    def _age(self) -> float:
        return self._clock.monotonic() - self._fetched

    async def _refresh(self) -> None:
        async with self._fetching:
            now = self._clock.monotonic()
            if now - self._tried < FETCH_PAUSE:
                return
            self._tried = now
            try:
                self._keys = parsed(await self._fetch())
            except Unavailable as cause:
                log.warning("keys of GitHub: %s; the last keys stay in use", cause)
            else:
                self._fetched = now


def parsed(text: bytes) -> dict[str, ec.EllipticCurvePublicKey]:
    """Return the P-256 keys of a list by their ids. Raises Unavailable if it has none."""
    try:
        entries: Any = json.loads(text)["public_keys"]
        found = {str(one["key_identifier"]): _public(one["key"]) for one in entries[:MAX_KEYS]}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Unavailable("the list of keys cannot be read") from None
    keys = {key_id: key for key_id, key in found.items() if key is not None}
    if not keys:
        raise Unavailable("the list has no P-256 key")
    return keys


def _public(pem: str) -> ec.EllipticCurvePublicKey | None:
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        return None
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    return None
