"""Bearer tokens of an identity provider: JSON Web Tokens (RFC 7519).

A bad token costs little: all this is refused before a signature is checked: a token over MAX_TOKEN
bytes, an encrypted or nested token, a symmetric algorithm or `none`, a member that stands twice,
and a header that needs an extension (`crit`, RFC 7515 section 4.1.11).
"""

import math
import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from authz.core.access import Binding, Refusal, RefusalKind
from authz.core.strict_json import STRICT_JSON

MAX_TOKEN: Final = 8192  # bytes
MAX_HEADER: Final = 2048  # bytes, decoded
MAX_KEY_ID: Final = 256  # characters

# Asymmetric only (RFC 7518 section 3.1, RFC 9864): a verifier that also takes HS256 can be made to
# use a public key as a shared secret (RFC 8725 section 2.1).
ALGORITHMS: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"}
    | {"Ed25519", "EdDSA"}
)
TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})  # RFC 9068 section 2.1

_SHAPE: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Unverified:
    """A well-formed token. Nothing in it is proven. key_id: empty if the header has none."""

    text: str = field(repr=False)
    algorithm: str
    key_id: str
    claims: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Expected:
    """The claims that a token must have. skew: seconds, 0 to 300."""

    issuer: str
    audience: str
    skew: float = 60.0


def refused(why: str) -> Refusal:
    """Return an UNAUTHENTICATED refusal. `why`: a fixed text of ours, for the log."""
    return Refusal(RefusalKind.UNAUTHENTICATED, why)


def parse(text: str) -> Unverified | Refusal:
    """Parse a compact JWS with JSON claims, or return the refusal of its form or its algorithm."""
    if len(text) > MAX_TOKEN:
        return refused("token: too long")
    match = _SHAPE.fullmatch(text)
    if match is None:
        return refused("token: not three parts in base64url")
    header, claims = _object(match[1], MAX_HEADER), _object(match[2], MAX_TOKEN)
    if header is None or claims is None:
        return refused("token: a part is no JSON object with distinct members")
    algorithm, key_id = header.get("alg"), header.get("kid", "")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        return refused("token: its algorithm is not allowed")
    if not isinstance(key_id, str) or len(key_id) > MAX_KEY_ID:
        return refused("token: its kid is no short text")
    kind = header.get("typ", "jwt")
    if not isinstance(kind, str) or kind.lower() not in TYPES or "cty" in header:
        return refused("token: not a plain token")
    if "crit" in header or "b64" in header:
        return refused("token: it needs an extension")
    return Unverified(text, algorithm, key_id, claims)


def judge(claims: Mapping[str, Any], expected: Expected, now: int) -> Refusal | None:
    """Return the reason to refuse these claims, or None. The signature is not looked at.

    now: milliseconds since the epoch. `exp` is needed; `nbf` and `iat` count if they are there
    (RFC 7519 section 4.1). A time may be off by `expected.skew`.
    """
    seconds = now / 1000
    if claims.get("iss") != expected.issuer:
        return refused("token: another issuer")
    if not _is_for(claims.get("aud"), expected.audience):
        return refused("token: another audience")
    times = {name: _time(claims.get(name)) for name in ("exp", "nbf", "iat") if name in claims}
    if None in times.values() or "exp" not in times:
        return refused("token: exp, nbf or iat is no time")
    expiry, start, issued = times["exp"], times.get("nbf"), times.get("iat")
    if expiry is None or seconds >= expiry + expected.skew:
        return refused("token: expired")
    if start is not None and seconds < start - expected.skew:
        return refused("token: not valid yet")
    if issued is not None and seconds < issued - expected.skew:
        return refused("token: issued in the future")
    return None


def names(claims: Mapping[str, Any], claim: str) -> Sequence[str]:
    """Return the names in a claim: a list of texts, or one text with blanks between the names.

    claim: the name of a claim, or a path such as `realm_access.roles`. A claim of the full name
    comes first, because names such as `https://example.com/roles` have dots. Anything else: none.
    """
    found: Any = claims.get(claim)
    if found is None and "." in claim:
        found = claims
        for step in claim.split("."):
            found = found.get(step) if isinstance(found, Mapping) else None
    if isinstance(found, str):
        return found.split()
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def bindings(
    claims: Mapping[str, Any], claim: str, granted: Mapping[str, Binding]
) -> tuple[Binding, ...]:
    """Return the bindings that the names in a claim are granted, each once.

    granted: bindings by name, which also give the order. Other names in the claim give none.
    """
    held = set(names(claims, claim))
    return tuple(dict.fromkeys(one for name, one in granted.items() if name in held))


def _object(part: str, limit: int) -> dict[str, Any] | None:
    try:
        raw = urlsafe_b64decode(part + "=" * (-len(part) % 4))
        if len(raw) > limit:
            return None
        found = STRICT_JSON.decode(raw.decode())
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _is_for(given: object, audience: str) -> bool:
    if isinstance(given, list):
        return all(isinstance(one, str) for one in given) and audience in given
    return given == audience


def _time(given: object) -> float | None:
    if isinstance(given, bool) or not isinstance(given, int | float):
        return None
    return float(given) if 0 <= given < 1e12 and math.isfinite(given) else None  # noqa: PLR2004
