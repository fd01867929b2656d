"""Deny -> CheckResponse bytes. See the rules of respond.py.

In a flood this is nearly all there is to write. So a refusal is what was made before, with the id
of its request put in.
"""

import json
import re
from collections.abc import Sequence
from typing import Final

from envoy.service.auth.v3.external_auth_pb2 import CheckResponse

from authz.core.decision import Deny, OverLimit, Reason
from authz.core.limits.key_limits import KeyLimits
from authz.core.records import KeyRecord
from authz.core.request import Request
from authz.rpc.check.rate_limit_headers import RateLimitHeaders, violated_names
from authz.rpc.check.reason_table import TABLE, Row
from authz.rpc.check.response_parts import Charges, facts, keep, option
from authz.rpc.check.wire import field, header

REALM: Final = "authz"
RETRY_AFTER_SECONDS: Final = 1

_is_harmless: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII).fullmatch
# As Envoy tells it: `application/grpc-web` is not gRPC.
_GRPC: Final = re.compile(r"application/grpc(\+|\Z)", re.ASCII)
# Field numbers of CheckResponse, and of a denial.
_DENIED, _ERROR, _HEADERS, _BODY = 2, 5, 2, 3

# What a refusal depends on, its record and its request apart: whether it is stale, whether the
# caller speaks gRPC; and if it has proven who it is, the kid, and the scopes that were missing or
# the limits that refused.
_Stranger = tuple[Reason, bool, bool]
_Known = tuple[Reason, bool, bool, str, tuple[str, ...]]


class Refuser:
    """Writes refusals. legacy_headers: tell of limits in X-RateLimit headers, too."""

    def __init__(self, charges: Charges, *, legacy_headers: bool) -> None:
        self._prefix, self._charge, self._count = charges.prefix, charges.head, charges.count
        self._legacy_headers = legacy_headers
        self._strangers: dict[_Stranger, _Denial] = {}
        # Each with the record it was made for, as in Responder.
        self._known: dict[_Known, tuple[KeyRecord, _Denial]] = {}
        self._over_limits: dict[_Known, tuple[KeyRecord, KeyLimits, _Denial, RateLimitHeaders]] = {}

    def write(self, decision: Deny, request: Request) -> bytes:
        """A serialised CheckResponse."""
        count = b"%012x" % self._count()
        content_type = request.header("content-type", "")
        is_grpc = "grpc" in content_type and _GRPC.match(content_type) is not None
        request_id = b""
        if not is_grpc:
            text = request.header("x-request-id", "")
            request_id = text.encode() if _is_harmless(text) else self._prefix + count
        if decision.key is None:
            case = (decision.reason, decision.stale, is_grpc)
            denial = self._strangers.get(case)
            if denial is None:
                denial = self._strangers[case] = _denial(decision, is_grpc)
        elif isinstance(decision, OverLimit):
            return self._over_limit(decision, request_id, is_grpc) + self._charge + count
        else:
            denial = self._of_known(decision, decision.key, request.route.scopes, is_grpc)
        if denial.room != len(request_id):
            denial.make_room(len(request_id))
        return b"".join((denial.head, request_id, denial.end, self._charge, count))

    def _of_known(
        self, decision: Deny, key: KeyRecord, required: frozenset[str], is_grpc: bool
    ) -> "_Denial":
        reason = decision.reason
        scopes = tuple(sorted(required)) if reason is Reason.INSUFFICIENT_SCOPE else ()
        case = (reason, decision.stale, is_grpc, key.kid, scopes)
        kept = self._known.get(case)
        if kept is None or kept[0] is not key:
            made = _denial(decision, is_grpc, scopes=scopes)
            kept = keep(self._known, case, (key, made))
        return kept[1]

    def _over_limit(self, decision: OverLimit, request_id: bytes, is_grpc: bool) -> bytes:
        key, spent = decision.key, decision.limit_result
        violated = violated_names(spent)
        case = (decision.reason, decision.stale, is_grpc, key.kid, violated)
        kept = self._over_limits.get(case)
        if kept is None or kept[0] is not key or kept[1] is not spent.key_limits:
            telling = RateLimitHeaders(spent.key_limits, legacy=self._legacy_headers)
            made = _denial(decision, is_grpc, violated=violated, telling=telling)
            kept = keep(self._over_limits, case, (key, spent.key_limits, made, telling))
        headers, metadata = kept[3].of_refused(spent)
        options = (field(_HEADERS, header(*pair)) for pair in headers.items())
        return kept[2].write(request_id, b"".join(options)) + metadata


class _Denial:
    """An answer that lacks nothing but the id of the request.

    base: what goes before the body. before, end: the body, around the id. room: how long an id fits
    between `head` and `end`. Nearly all have one length; another costs a microsecond more.
    """

    __slots__ = ("_arm", "_base", "_before", "end", "head", "room")

    def __init__(self, base: bytes, arm: int, before: bytes, end: bytes = b"") -> None:
        self._base = base
        self._arm = arm
        self._before = before
        self.end = end
        self.head, self.room = b"", -1

    def make_room(self, length: int) -> None:
        """From here on `head` is for ids of this length."""
        whole = self.write(bytes(length))
        self.head, self.room = whole[: len(whole) - length - len(self.end)], length

    def write(self, request_id: bytes, headers: bytes = b"") -> bytes:
        """The answer. headers: more of them, serialised."""
        body = field(_BODY, self._before + request_id + self.end)
        return self._base + field(self._arm, headers + body)


def _denial(
    decision: Deny,
    is_grpc: bool,
    *,
    scopes: Sequence[str] = (),
    violated: Sequence[str] = (),
    telling: RateLimitHeaders | None = None,
) -> _Denial:
    reason = decision.reason
    row = TABLE[reason]
    detail = row.detail
    if scopes:
        detail = f"This API key lacks a required scope. Required: {' '.join(scopes)}."
    elif violated:
        detail = f"{row.detail.removesuffix('.')}: {' '.join(violated)}."
    answer = CheckResponse()
    answer.status.code = row.grpc_code
    arm = answer.error_response if reason is Reason.UNAVAILABLE else answer.denied_response
    arm.status.code = row.status
    headers = _denial_headers(reason, row, scopes, is_grpc) | (telling.headers if telling else {})
    arm.headers.extend(option(*pair) for pair in headers.items())
    answer.dynamic_metadata.update(facts(reason.value, decision))
    if telling:
        answer.dynamic_metadata.update(telling.metadata)
    base = answer.SerializeToString()
    number = _ERROR if reason is Reason.UNAVAILABLE else _DENIED
    if is_grpc:
        return _Denial(base, number, detail.encode())
    problem: dict[str, object] = {
        "type": f"urn:authz:problem:{row.code}",
        "title": row.title,
        "status": row.status,
        "detail": detail,
        "code": row.code,
    }
    if violated:
        problem["violated-policies"] = list(violated)
    before = json.dumps(problem | {"request_id": ""}).removesuffix('"}')
    return _Denial(base, number, before.encode(), b'"}')


def _denial_headers(
    reason: Reason, row: Row, scopes: Sequence[str], is_grpc: bool
) -> dict[str, str]:
    challenge = _challenge(reason, row, scopes)
    headers = {
        "content-type": "" if is_grpc else "application/problem+json",
        "www-authenticate": challenge,
        "retry-after": str(RETRY_AFTER_SECONDS) if reason is Reason.UNAVAILABLE else "",
    }
    return {name: value for name, value in headers.items() if value}


def _challenge(reason: Reason, row: Row, scopes: Sequence[str]) -> str:
    """WWW-Authenticate in the form of RFC 6750, section 3."""
    if reason is Reason.MISSING_CREDENTIAL:
        return f'Bearer realm="{REALM}"'
    if reason is Reason.INSUFFICIENT_SCOPE:
        wanted = " ".join(scopes)
        return f'Bearer realm="{REALM}", error="insufficient_scope", scope="{wanted}"'
    if row.status == 401:  # noqa: PLR2004  Unauthorized
        error = "invalid_request" if reason is Reason.AMBIGUOUS_CREDENTIAL else "invalid_token"
        return f'Bearer realm="{REALM}", error="{error}", error_description="{row.detail}"'
    return ""
