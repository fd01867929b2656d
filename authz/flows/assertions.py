"""AssertionSigner: makes the assertion of an allowed request."""

import secrets
from typing import Final

from authz.core.assertion import assertion_claims, unsigned_assertion
from authz.core.ports import Clock
from authz.core.records import KeyRecord
from authz.core.tokens.presented import AcceptedToken
from authz.core.tokens.text import joined
from authz.flows.tokens.ports import Signer

ID_BYTES: Final = 12


class AssertionSigner:
    """Signs assertions of one issuer with one key. key_id: its id in the key set."""

    def __init__(self, issuer: str, key_id: str, key: Signer, clock: Clock) -> None:
        self._issuer = issuer
        self._key_id = key_id
        self._key = key
        self._clock = clock

    def sign(self, record: KeyRecord, token: AcceptedToken | None, audience: str) -> str:
        """Return a new assertion, valid for LIFETIME (60 s) from now on. token: of the record."""
        claims = assertion_claims(record, token, audience, self._clock.wall_ms())
        named = {"iss": self._issuer, **claims, "jti": secrets.token_urlsafe(ID_BYTES)}
        signed = unsigned_assertion(self._key_id, named)
        return joined(signed, self._key.sign(signed.encode()))
