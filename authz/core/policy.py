"""The checks of a request against a record, in order. The first refusal wins.

Records are cached, decisions are not: every check runs for every request. So an expiry is exact to
the millisecond on a cache hit too. The secret is checked first: without it a caller learns nothing
about the key.
"""

import re
from collections.abc import Callable, Iterator
from hmac import compare_digest
from typing import Final, Protocol

from authz.core.addresses import MAX_ADDRESS, parse_short_address
from authz.core.decision import Deny, Reason
from authz.core.fields import folded, split_host
from authz.core.keys.credentials import DIGEST_LENGTH
from authz.core.records import KeyRecord, Status
from authz.core.request import Request
from authz.core.scopes import is_held
from authz.core.store_clock import Window

_ACTIVE: Final = Status.ACTIVE  # to reach a member through its class costs as much as a call
_BY_STATUS: Final = {
    Status.REVOKED: Reason.REVOKED,
    Status.DISABLED: Reason.DISABLED,
    Status.CANARY: Reason.CANARY,
}
_LABELS = re.compile(r"[a-z0-9_-]++(?:(?=\.[a-z0-9_-])\.[a-z0-9_-]++)*+", re.ASCII)


class Proof(Protocol):
    """A presented credential: a key in our format, or an imported key that was found."""

    def digest(self) -> bytes:
        """Return the digest to compare with those in the record; empty if we lack its pepper."""
        ...


def judge(record: KeyRecord, presented: Proof, request: Request, now: int) -> Deny | None:
    """Return the first refusal, or None to allow. `now`: milliseconds since the epoch.

    The Deny has the record as its `key`, except for WRONG_SECRET and CANARY: those callers get the
    answer to an unknown key.
    """
    refusal = secret(record, presented, now)
    if refusal is not None:
        return Deny(refusal, None if refusal is Reason.WRONG_SECRET else record)
    # CHECKS in their order. What stands before a check tells whether it can refuse at all, for a
    # third of the cost of a call.
    route = request.route
    refusal = (
        (status(record, request, now) if record.status is not _ACTIVE else None)
        or (not_before(record, request, now) if record.not_before is not None else None)
        or (
            expiry(record, request, now)
            if record.expires_at is not None and now >= record.expires_at
            else None
        )
        or (environment(record, request, now) if route.env is not None else None)
        or (public(record, request, now) if record.public else None)
        or (address(record, request, now) if record.blocks else None)
        or (host(record, request, now) if record.allowed_hosts else None)
        or (origin(record, request, now) if record.allowed_origins or record.public else None)
        or (
            scope(record, request, now)
            if request.token is not None or not route.scopes <= record.scopes
            else None
        )
    )
    if refusal is None:
        return None
    return Deny(refusal, None if refusal is Reason.CANARY else record)


def judge_within(record: KeyRecord, proof: Proof, request: Request, window: Window) -> Deny | None:
    """Return the refusal that holds at both ends of a window, or None if both allow.

    If the reasons at the ends differ, return a Deny with UNAVAILABLE and no key. Each time of a
    record turns a check once and for ever. So if the ends agree, every moment between them does.
    """
    refusal = judge(record, proof, request, window.earliest)
    if not any(window.earliest < turn <= window.latest for turn in record.turns):
        return refusal
    later = judge(record, proof, request, window.latest)
    if (refusal and refusal.reason) == (later and later.reason):
        return refusal
    return Deny(Reason.UNAVAILABLE)


def examine(
    record: KeyRecord, presented: Proof, request: Request, now: int
) -> Iterator[tuple[str, Reason | None]]:
    """Yield the name of every check with its refusal or None, also after a refusal.

    In the order of NAMES, `secret` first. `judge` returns the first refusal. `now`: milliseconds
    since the epoch.
    """
    verdicts = (check(record, request, now) for check in CHECKS)
    yield from zip(NAMES, (secret(record, presented, now), *verdicts), strict=True)


def secret(record: KeyRecord, presented: Proof, now: int) -> Reason | None:
    """Return WRONG_SECRET, SECRET_RETIRED, or None if the secret is live at `now` (ms).

    A secret that retired more than 30 days ago is wrong. All digests are compared, so timing
    reveals nothing.
    """
    digest = presented.digest()
    found = None
    if len(digest) == DIGEST_LENGTH:  # an empty one matches nothing
        for entry in record.secrets:
            if compare_digest(digest, entry.digest):
                found = entry
    if found is None:
        return Reason.WRONG_SECRET
    if found.retires_at is None or found.is_live(now):  # it has a digest, because that matches
        return None
    return Reason.SECRET_RETIRED if found.is_remembered(now) else Reason.WRONG_SECRET


def status(record: KeyRecord, _request: Request, _now: int) -> Reason | None:
    """Return REVOKED, DISABLED or CANARY, or None if the key is active."""
    return None if record.status is _ACTIVE else _BY_STATUS[record.status]


def not_before(record: KeyRecord, _request: Request, now: int) -> Reason | None:
    """Return NOT_YET_VALID before `not_before` (that millisecond is valid), else None."""
    if record.not_before is not None and now < record.not_before:
        return Reason.NOT_YET_VALID
    return None


def expiry(record: KeyRecord, _request: Request, now: int) -> Reason | None:
    """Return EXPIRED from `expires_at` on (that millisecond is not valid), else None."""
    if record.expires_at is not None and now >= record.expires_at:
        return Reason.EXPIRED
    return None


def environment(record: KeyRecord, request: Request, _now: int) -> Reason | None:
    """Return WRONG_ENVIRONMENT if the route names another environment than the key's, else None."""
    if request.route.env is not None and request.route.env != record.env:
        return Reason.WRONG_ENVIRONMENT
    return None


def public(record: KeyRecord, request: Request, _now: int) -> Reason | None:
    """Return PUBLIC_KEY_NOT_ALLOWED for a publishable key on a route not marked for it, else None.

    A token of the key is judged like the key.
    """
    if record.public and not request.route.public:
        return Reason.PUBLIC_KEY_NOT_ALLOWED
    return None


def address(record: KeyRecord, request: Request, _now: int) -> Reason | None:
    """Return ADDRESS_NOT_ALLOWED if the client address is not in the key's blocks, else None.

    A key without blocks allows any address. With blocks, text that is no address is refused.
    """
    if not record.blocks:
        return None
    text = request.client_address
    client = parse_short_address(text) if len(text) <= MAX_ADDRESS else None
    if client is not None:
        for mask, value in record.blocks:
            if client & mask == value:
                return None
    return Reason.ADDRESS_NOT_ALLOWED


def host(record: KeyRecord, request: Request, _now: int) -> Reason | None:
    """Return HOST_NOT_ALLOWED if the request's host fits none of the key's hosts, else None.

    A key without hosts allows any host. Case, port and a final dot do not matter.
    """
    if not record.allowed_hosts:
        return None
    wanted = split_host(request.host)
    if any(_fits(pattern, wanted) for pattern in record.allowed_hosts):
        return None
    return Reason.HOST_NOT_ALLOWED


def origin(record: KeyRecord, request: Request, _now: int) -> Reason | None:
    """Return ORIGIN_NOT_ALLOWED if Origin (RFC 6454) is absent or not one of the key's, else None.

    A key without origins allows any request; a publishable one without origins allows none. Case
    does not matter.
    """
    if not record.allowed_origins:
        return Reason.ORIGIN_NOT_ALLOWED if record.public else None
    given = folded(request.header("origin", ""))
    if any(_fits(pattern, given) for pattern in record.allowed_origins):
        return None
    return Reason.ORIGIN_NOT_ALLOWED


def scope(record: KeyRecord, request: Request, _now: int) -> Reason | None:
    """Return INSUFFICIENT_SCOPE if the key lacks a scope of the route, else None; see `is_held`.

    A token of the key must hold the scope, too.
    """
    required = request.route.scopes
    held = record.scopes
    if required <= held or all(is_held(wanted, held) for wanted in required):
        token = request.token
        return None if token is None or token.covers(required) else Reason.INSUFFICIENT_SCOPE
    return Reason.INSUFFICIENT_SCOPE


Check = Callable[[KeyRecord, Request, int], Reason | None]
CHECKS: Final[tuple[Check, ...]] = (
    status,
    not_before,
    expiry,
    environment,
    public,
    address,
    host,
    origin,
    scope,
)
NAMES: Final = ("secret", *(check.__name__ for check in CHECKS))


def _fits(pattern: str, given: str) -> bool:
    """Return whether `given` is the pattern, with proper host labels in place of its star.

    It is stricter than the match of a route's host, which follows the proxy's suffix match.
    """
    head, star, tail = pattern.partition("*")
    if not star:
        return given == pattern
    return (
        given.startswith(head)
        and given.endswith(tail)
        and _LABELS.fullmatch(given, len(head), len(given) - len(tail)) is not None
    )
