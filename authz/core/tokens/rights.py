"""The rights of a token: never more and never longer than those of its parent key."""

from collections.abc import Sequence
from dataclasses import dataclass

from authz.core.decision import Reason
from authz.core.records import KeyRecord
from authz.core.scopes import are_held, is_held
from authz.core.tokens.text import LEEWAY, MAX_LIFETIME, Claims


@dataclass(frozen=True, slots=True)
class Expected:
    """The issuer of our tokens, and the audiences that we accept."""

    issuer: str
    audiences: Sequence[str]


def judge(claims: Claims, expected: Expected, now: int) -> Reason | None:
    """Return the reason to refuse these claims, or None. now: milliseconds since the epoch.

    `nbf`, which is not before `iat`, may be up to LEEWAY (30 s) in the future. `exp` counts to the
    millisecond. The record of the parent key is not looked at.
    """
    is_too_long = claims.expires_at - claims.issued_at > MAX_LIFETIME
    if claims.issuer != expected.issuer or is_too_long or claims.not_before < claims.issued_at:
        return Reason.FORGED
    if now >= claims.expires_at * 1000:
        return Reason.TOKEN_EXPIRED
    if claims.not_before * 1000 > now + LEEWAY * 1000:
        return Reason.NOT_YET_VALID
    return None if claims.audience in expected.audiences else Reason.WRONG_AUDIENCE


def narrowed(wanted: frozenset[str] | None, held: frozenset[str]) -> frozenset[str] | None:
    """Return the scopes of a new token: `wanted`, or those of its key for None.

    Return None if the key does not hold one of them. held: the scopes of the key.
    """
    if wanted is None:
        return held
    return wanted if are_held(wanted, held) else None


def effective(key: frozenset[str], token: frozenset[str]) -> frozenset[str]:
    """Return the scopes that both the key and its token hold, as wildcards where both do."""
    if key == token:
        return key
    of_token = {scope for scope in token if is_held(scope, key)}
    return frozenset(of_token | {scope for scope in key if is_held(scope, token)})


def expiry(record: KeyRecord, secret_id: str, wanted: int, now: int) -> int:
    """Return the end of a new token, in seconds since the epoch.

    At most `wanted` seconds and MAX_LIFETIME (900 s) from `now` (ms) on. Never after the end of the
    key, nor after the end of the secret that was exchanged. It is not after `now` if they end
    within this second.
    """
    ends = [(now // 1000 + min(wanted, MAX_LIFETIME)) * 1000]
    if record.expires_at is not None:
        ends.append(record.expires_at)
    ends += [
        secret.retires_at
        for secret in record.secrets
        if secret.id == secret_id and secret.retires_at is not None
    ]
    return min(ends) // 1000
