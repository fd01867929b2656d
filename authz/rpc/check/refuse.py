"""Write a Deny as CheckResponse bytes. See the rules of respond.py.

In a flood nearly all responses are refusals. So each kind is serialised once, and the id of the
request is put in.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from envoy.service.auth.v3.external_auth_pb2 import CheckResponse, DeniedHttpResponse

from authz.core.bounded import BoundedDict
from authz.core.decision import Deny, OverLimit, Reason
from authz.core.limits.key_limits import KeyLimits
from authz.core.ports import ResponseIds
from authz.core.records import KeyRecord
from authz.core.request import Request
from authz.rpc.check.rate_limit_headers import RateLimitHeaders, violated_names
from authz.rpc.check.reason_table import TABLE, Row
from authz.rpc.check.response_parts import AnyChargeIds, decision_metadata, header_option
from authz.rpc.check.usage import RouteParts, secret_part
from authz.rpc.check.wire import field, header

REALM: Final = "authz"
_RETRY_AFTER: Final = {Reason.UNAVAILABLE: "1", Reason.TOO_MANY_FAILURES: "60"}  # seconds
# Envoy cuts a body off after 4,096 bytes as shipped. The detail stands in it twice.
MAX_NAMED: Final = 512
MAX_CHALLENGE_SCOPES: Final = 1024

_is_harmless: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII).fullmatch
# As Envoy tells it: `application/grpc-web` is not gRPC.
_GRPC: Final = re.compile(r"application/grpc(\+|\Z)", re.ASCII)
# Field numbers of CheckResponse, and of a DeniedHttpResponse.
_DENIED, _ERROR, _HEADERS, _BODY = 2, 5, 2, 3

# A refusal of a caller that has proven no key depends on its reason, on whether it is stale, and on
# whether the caller speaks gRPC. That of a key also depends on the kid, and on the scopes that the
# route requires or the limits that refused.
_Unproven = tuple[Reason, bool, bool]
_Proven = tuple[Reason, bool, bool, str, tuple[str, ...]]
_LimitTemplate = tuple[KeyRecord, KeyLimits, "_Template", RateLimitHeaders]


def response_ids(request: Request, response: bytes) -> ResponseIds:
    """Return the ids by which a caller and the proxy's access log name a refusal.

    request_id is the caller's x-request-id if it is harmless, else the charge id of `response`.
    """
    charge_id = str(CheckResponse.FromString(response).dynamic_metadata["charge_id"])
    text = request.header("x-request-id", "")
    return ResponseIds(text if _is_harmless(text) else charge_id, charge_id)


class Refuser:
    """Writes refusals.

    max_templates: how many templates of proven keys are remembered, and as many for limits.
    legacy_headers: also tell callers of limits in X-RateLimit headers.
    """

    def __init__(self, ids: AnyChargeIds, max_templates: int, *, legacy_headers: bool) -> None:
        self._ids_of, self._ids_of_none = ids.of, ids.of(None)
        self._legacy_headers = legacy_headers
        self._unproven: dict[_Unproven, _Template] = {}
        # Each with the record it was made for, as in Responder.
        self._proven: BoundedDict[_Proven, tuple[KeyRecord, _Template]] = BoundedDict(max_templates)
        self._over_limits: BoundedDict[_Proven, _LimitTemplate] = BoundedDict(max_templates)

    def write(self, decision: Deny, request: Request) -> bytes:
        """Return a serialised CheckResponse that refuses, with a new charge id.

        A gRPC caller gets a gRPC status. Others get a JSON problem, which holds the harmless
        x-request-id of the request or else the charge id.
        """
        key = decision.key
        ids = self._ids_of_none if key is None else self._ids_of(key)
        count = b"%012x" % ids.count()
        content_type = request.header("content-type", "")
        is_grpc = "grpc" in content_type and _GRPC.match(content_type) is not None
        request_id = b""
        if not is_grpc:
            text = request.header("x-request-id", "")
            request_id = text.encode() if _is_harmless(text) else ids.prefix + count
        usage = RouteParts.label(request.route)
        if key is None:
            case = (decision.reason, decision.stale, is_grpc)
            template = self._unproven.get(case)
            if template is None:
                template = self._unproven[case] = _template(decision, is_grpc)
        elif isinstance(decision, OverLimit):
            usage += secret_part(decision.key, request)
            return self._over_limit(decision, request_id, is_grpc) + ids.head + count + usage
        else:
            template = self._of_key(decision, key, request.route.scopes, is_grpc)
            usage += secret_part(key, request)
        if template.room != len(request_id):
            template.make_room(len(request_id))
        return b"".join((request_id.join(template.pieces), ids.head, count, usage))

    def _of_key(
        self, decision: Deny, key: KeyRecord, required: frozenset[str], is_grpc: bool
    ) -> "_Template":
        reason = decision.reason
        scopes = tuple(sorted(required)) if reason is Reason.INSUFFICIENT_SCOPE else ()
        case = (reason, decision.stale, is_grpc, key.kid, scopes)
        entry = self._proven.get(case)
        if entry is None or entry[0] is not key:
            template = _template(decision, is_grpc, scopes=scopes)
            entry = (key, template)
            self._proven.put(case, entry)
        return entry[1]

    def _over_limit(self, decision: OverLimit, request_id: bytes, is_grpc: bool) -> bytes:
        key, result = decision.key, decision.limit_result
        violated = violated_names(result)
        case = (decision.reason, decision.stale, is_grpc, key.kid, violated)
        entry = self._over_limits.get(case)
        if (
            entry is None
            or entry[0] is not key
            or entry[1] is not result.key_limits
            or entry[3].windows != result.windows
        ):
            limits = RateLimitHeaders(
                result.key_limits, result.windows, legacy=self._legacy_headers
            )
            template = _template(decision, is_grpc, violated=violated, limits=limits)
            entry = (key, result.key_limits, template, limits)
            self._over_limits.put(case, entry)
        headers, metadata = entry[3].of_refused(result)
        options = (field(_HEADERS, header(*pair)) for pair in headers.items())
        return entry[2].fill(request_id, b"".join(options)) + metadata


class _Template:
    """A serialised refusal without the id of its request.

    arms: for each arm of the oneof, the bytes before its body and its field number. before, after:
    the body around the id. pieces: the same bytes split where the id goes, for ids of `room` bytes.
    Nearly all ids have one length; another length costs a microsecond more.
    """

    __slots__ = ("_after", "_arms", "_before", "pieces", "room")

    def __init__(
        self, arms: Sequence[tuple[bytes, int]], before: bytes, after: bytes = b""
    ) -> None:
        self._arms = arms
        self._before = before
        self._after = after
        self.pieces: list[bytes] = []
        self.room = -1

    def make_room(self, length: int) -> None:
        """Split the bytes for ids of `length` bytes, and set `pieces` and `room`."""
        self.pieces, rest = [], b""
        for head, number in self._arms:
            arm = field(number, field(_BODY, self._before + bytes(length) + self._after))
            cut = len(arm) - length - len(self._after)
            self.pieces.append(rest + head + arm[:cut])
            rest = self._after
        self.pieces.append(rest)
        self.room = length

    def fill(self, request_id: bytes, headers: bytes) -> bytes:
        """Return the refusal with this id, and with `headers`: serialised header fields to add."""
        body = headers + field(_BODY, self._before + request_id + self._after)
        return b"".join(head + field(number, body) for head, number in self._arms)


def _template(
    decision: Deny,
    is_grpc: bool,
    *,
    scopes: Sequence[str] = (),
    violated: Sequence[str] = (),
    limits: RateLimitHeaders | None = None,
) -> _Template:
    reason = decision.reason
    row = TABLE[reason]
    detail = _detail(row, scopes, violated)
    headers = _headers(reason, row, scopes, is_grpc) | (limits.headers if limits else {})
    metadata = decision_metadata(reason.value, decision) | (limits.metadata if limits else {})
    arms = _arms(row, headers, metadata, is_fault=reason is Reason.UNAVAILABLE)
    if is_grpc:
        return _Template(arms, detail.encode())
    problem: dict[str, object] = {
        "type": f"urn:authz:problem:{row.code}",
        "title": row.title,
        "status": row.status,
        "detail": detail,
        "code": row.code,
        "error": {"message": detail, "type": row.error_type, "code": row.code},
    }
    if violated:
        problem["violated-policies"] = list(violated)
    before = json.dumps(problem | {"request_id": ""}).removesuffix('"}')
    return _Template(arms, before.encode(), b'"}')


def _arms(
    row: Row, headers: dict[str, str], metadata: dict[str, Any], *, is_fault: bool
) -> list[tuple[bytes, int]]:
    """Return the arms of a refusal, each with the bytes before its body.

    A fault of ours has two arms: Envoy 1.36 does not know error_response, and would answer 403
    without a body. It reads the denied_response. Newer ones read the last arm, error_response.
    """
    first = CheckResponse()
    first.status.code = row.grpc_code
    _fill_arm(first.denied_response, row, headers)
    rest = CheckResponse()
    if not is_fault:
        first.dynamic_metadata.update(metadata)
        return [(first.SerializeToString(), _DENIED)]
    _fill_arm(rest.error_response, row, headers)
    rest.dynamic_metadata.update(metadata)
    return [(first.SerializeToString(), _DENIED), (rest.SerializeToString(), _ERROR)]


def _fill_arm(arm: DeniedHttpResponse, row: Row, headers: dict[str, str]) -> None:
    arm.status.code = row.status
    arm.headers.extend(header_option(*pair) for pair in headers.items())


def _detail(row: Row, scopes: Sequence[str], violated: Sequence[str]) -> str:
    if scopes:
        return f"{row.detail} Required: {_named(scopes)}."
    if violated:
        return f"{row.detail.removesuffix('.')}: {_named(violated)}."
    return row.detail


def _named(names: Sequence[str]) -> str:
    """Return the names joined by blanks, as many as fit into MAX_NAMED (512) characters.

    ` and N more` follows for the rest.
    """
    length, count = 0, 0
    for name in names:
        length += len(name) + 1
        if length > MAX_NAMED:
            break
        count += 1
    left_out = len(names) - count
    text = " ".join(names[:count])
    return f"{text} and {left_out} more" if left_out else text


def _headers(reason: Reason, row: Row, scopes: Sequence[str], is_grpc: bool) -> dict[str, str]:
    headers = {
        "content-type": "" if is_grpc else "application/problem+json",
        "grpc-status": str(row.grpc_code) if is_grpc else "",
        "www-authenticate": _challenge(reason, row, scopes),
        "retry-after": _RETRY_AFTER.get(reason, ""),
    }
    return {name: value for name, value in headers.items() if value}


def _challenge(reason: Reason, row: Row, scopes: Sequence[str]) -> str:
    """Return WWW-Authenticate in the form of RFC 6750, section 3; empty for a status without one.

    Only 401 and INSUFFICIENT_SCOPE have one. Scopes of more than MAX_CHALLENGE_SCOPES characters
    are left out: a list that was cut would say what is not so.
    """
    if reason is Reason.MISSING_CREDENTIAL:
        return f'Bearer realm="{REALM}"'
    if reason is Reason.INSUFFICIENT_SCOPE:
        required = " ".join(scopes)
        scope = f', scope="{required}"' if len(required) <= MAX_CHALLENGE_SCOPES else ""
        return f'Bearer realm="{REALM}", error="insufficient_scope"{scope}'
    if row.status == 401:  # noqa: PLR2004  Unauthorized
        error = "invalid_request" if reason is Reason.AMBIGUOUS_CREDENTIAL else "invalid_token"
        return f'Bearer realm="{REALM}", error="{error}", error_description="{row.detail}"'
    return ""
