"""Assertions: a JWT in a header, by which a backend knows that a request came through the gate.

header   {"alg":"ES256","kid":KEY,"typ":"authz-assertion+jwt"}
claims   iss aud sub client_id project_id tenant_id env scope iat exp jti, and tid for a token

Rules:
1. The keys of assertions sign nothing else and have a key set of their own. So no verifier takes an
   assertion for a token, or a token for an assertion (RFC 8725 section 3.12).
2. An assertion serves all requests of one key, or of one token, to one audience for REUSED_MS. A
   signature for each request would cost more than the rest of its Check. So `jti` names the
   assertion and not a request.
3. A backend with the key set alone can verify it. It still has to compare the audience.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from authz.core.records import KeyRecord
from authz.core.tokens.presented import AcceptedToken
from authz.core.tokens.rights import effective
from authz.core.tokens.signing_keys import public_jwk
from authz.core.tokens.text import encoded

LIFETIME: Final = 60  # seconds
REUSED_MS: Final = 10_000
TYPE: Final = "authz-assertion+jwt"
KEY_ID_LENGTH: Final = 16


def assertion_key_id(x: bytes, y: bytes) -> str:
    """Return the id of a public key: the first 16 characters of its thumbprint (RFC 7638)."""
    members = {name: public_jwk("", x, y)[name] for name in ("crv", "kty", "x", "y")}
    text = json.dumps(members, separators=(",", ":"), sort_keys=True)
    return encoded(sha256(text.encode()).digest())[:KEY_ID_LENGTH]


def assertion_claims(
    record: KeyRecord, token: AcceptedToken | None, audience: str, now: int
) -> dict[str, str | int]:
    """Return the claims about a key or a token of it, without `iss` and `jti`. now: ms.

    scope: the scopes that key and token both hold. Project, tenant and `tid`, the id of the token,
    are left out if there is none.
    """
    scopes = record.scopes if token is None else effective(record.scopes, token.scopes)
    named = {
        "project_id": record.project_id,
        "tenant_id": record.tenant_id,
        "tid": token.id if token else "",
    }
    return {
        "aud": audience,
        "sub": record.kid,
        "client_id": record.client_id,
        **{name: value for name, value in named.items() if value},
        "env": record.env,
        "scope": " ".join(sorted(scopes)),
        "iat": now // 1000,
        "exp": now // 1000 + LIFETIME,
    }


def unsigned_assertion(key_id: str, claims: Mapping[str, str | int]) -> str:
    """Return the text to sign: header and claims in base64url."""
    header = {"alg": "ES256", "kid": key_id, "typ": TYPE}
    parts = (json.dumps(part, separators=(",", ":")) for part in (header, claims))
    return ".".join(encoded(part.encode()) for part in parts)
