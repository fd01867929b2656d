"""Decision -> CheckResponse bytes. What a caller sees is made here, from the table of Reasons.

Rules:
1. Only `status.code` decides, and an empty CheckResponse is an ALLOW. Every answer is built with
   its code set on purpose; what cannot be decided is an error answer, never an allow.
2. Every allow sets or removes every identity header, and the one that says it is stale, so that a
   client's own copy never survives.
3. An answer is a base that repeats, serialised once, and a suffix that varies. Protobuf messages
   that follow each other merge, so a suffix never holds field 1 (a second status with code 0 turns
   a denial into an allow), uses the base's arm of the oneof, and repeats no metadata key.
4. Nothing that a client wrote is shown, but a request id of harmless characters.
"""

import itertools
import json
import re
import secrets
from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

from envoy.config.core.v3.base_pb2 import HeaderValueOption
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse

from authz.core.decision import Allow, Charged, Decision, Deny, OverLimit, Reason
from authz.core.records import KeyRecord
from authz.core.request import Request
from authz.core.terms import Terms
from authz.flows.shelf import MAX_IN_USE
from authz.rpc.ratelimit import Telling, violated_names
from authz.rpc.table import TABLE, Row
from authz.rpc.wire import STRING, field, header, metadata

MAX_BASES: Final = MAX_IN_USE  # unpacked once more, a record is another object
REALM: Final = "authz"
RETRY_AFTER_SECONDS: Final = 1

_K = TypeVar("_K")
_V = TypeVar("_V")
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)
# As Envoy tells it: `application/grpc-web` is not gRPC.
_GRPC: Final = re.compile(r"application/grpc(\+|\Z)", re.ASCII)
# Field numbers of CheckResponse, and of a denial.
_DENIED, _ERROR, _HEADERS, _BODY = 2, 5, 2, 3

# What the base of a denial depends on, its record apart: whether it is stale, whether the caller
# speaks gRPC, the scopes that were missing or the limits that refused, and the kid.
Refusal = tuple[Reason, bool, bool, tuple[str, ...], str]
_DenyBase = tuple[bytes, bytes, bytes]  # without its body; the body before and after the request id


class Responder:
    """Writes answers of one installation.

    header_prefix: of the identity headers. removed_headers: those that carry nothing but a key,
    removed on every allow. query: a parameter that may hold the key, or empty. legacy_headers: tell
    of limits in X-RateLimit headers, too.
    """

    def __init__(
        self,
        *,
        header_prefix: str,
        removed_headers: Iterable[str],
        query: str = "",
        legacy_headers: bool = False,
    ) -> None:
        self._header_prefix = header_prefix
        self._removed = tuple(removed_headers)
        self._query = query
        self._legacy_headers = legacy_headers
        self._charge_prefix = secrets.token_hex(8)
        self._charge_head = _charge_head(self._charge_prefix)
        self._charges = itertools.count(1)
        # Each base with the record it was made from. Not with its version: a store that was
        # restored gives a version out again.
        self._allows: dict[tuple[str, str], tuple[KeyRecord | None, bytes]] = {}
        self._stale_allows: dict[tuple[str, str], tuple[KeyRecord | None, bytes]] = {}
        self._charged: dict[tuple[str, str, bool], tuple[KeyRecord, Terms, bytes, Telling]] = {}
        self._denials: dict[Refusal, tuple[KeyRecord | None, _DenyBase]] = {}
        self._over_limits: dict[Refusal, tuple[KeyRecord, Terms, _DenyBase, Telling]] = {}

    def write(self, decision: Decision, request: Request) -> bytes:
        """A serialised CheckResponse."""
        if type(decision) is Allow:
            bases = self._allows
        elif isinstance(decision, Deny):
            return self._deny(decision, request)
        elif isinstance(decision, Charged):
            return self._allow_charged(decision, request.carrier)
        else:
            bases = self._stale_allows
        key, carrier = decision.key, request.carrier
        name = (key.kid if key else "", carrier)
        kept = bases.get(name)
        if kept is None or kept[0] is not key:
            base = self._allow_base(decision, carrier) + self._charge_head
            kept = _keep(bases, name, (key, base))
        return kept[1] + b"%012x" % next(self._charges)

    def _allow_charged(self, decision: Charged, carrier: str) -> bytes:
        key, spent = decision.key, decision.spent
        name = (key.kid, carrier, decision.stale)
        kept = self._charged.get(name)
        if kept is None or kept[0] is not key or kept[1] is not spent.terms:
            telling = Telling(spent.terms, legacy=self._legacy_headers)
            base = self._allow_base(decision, carrier, telling) + self._charge_head
            kept = _keep(self._charged, name, (key, spent.terms, base, telling))
        return kept[2] + b"%012x" % next(self._charges) + kept[3].of_allowed(spent)

    def _allow_base(self, decision: Allow, carrier: str, telling: Telling | None = None) -> bytes:
        key = decision.key
        answer = CheckResponse()
        answer.status.code = 0
        ok = answer.ok_response
        identity = _identity(key) | {"stale": "true" if decision.stale else ""}
        for name, value in identity.items():
            if value:
                ok.headers.append(_header(self._header_prefix + name, value))
        unset = [self._header_prefix + name for name, value in identity.items() if not value]
        held = [carrier] if carrier else []
        ok.headers_to_remove.extend(dict.fromkeys([*unset, *self._removed, *held]))
        if self._query:
            ok.query_parameters_to_remove.append(self._query)
        answer.dynamic_metadata.update(_metadata("ok" if key else "anonymous", decision))
        if telling:
            ok.response_headers_to_add.extend(_header(*pair) for pair in telling.headers.items())
            answer.dynamic_metadata.update(telling.metadata)
        return bytes(answer.SerializeToString())

    def _deny(self, decision: Deny, request: Request) -> bytes:
        is_grpc = _GRPC.match(request.header("content-type", "")) is not None
        if isinstance(decision, OverLimit):
            (base, before, after), headers, more = self._over_limit(decision, is_grpc)
        else:
            base, before, after = self._deny_base(decision, request.route.scopes, is_grpc)
            headers = more = b""
        count = b"%012x" % next(self._charges)
        request_id = request.header("x-request-id", "")
        if not _REQUEST_ID.fullmatch(request_id):
            request_id = self._charge_prefix + count.decode()
        body = before if is_grpc else before + request_id.encode() + after
        arm = _ERROR if decision.reason is Reason.UNAVAILABLE else _DENIED
        return base + field(arm, headers + field(_BODY, body)) + more + self._charge_head + count

    def _deny_base(self, decision: Deny, required: frozenset[str], is_grpc: bool) -> _DenyBase:
        reason, key = decision.reason, decision.key
        scopes = tuple(sorted(required)) if reason is Reason.INSUFFICIENT_SCOPE else ()
        name = (reason, decision.stale, is_grpc, scopes, key.kid if key else "")
        kept = self._denials.get(name)
        if kept is None or kept[0] is not key:
            made = _refusal(decision, is_grpc, scopes=scopes)
            kept = _keep(self._denials, name, (key, made))
        return kept[1]

    def _over_limit(self, decision: OverLimit, is_grpc: bool) -> tuple[_DenyBase, bytes, bytes]:
        """Its base, the headers that vary, and the metadata that does."""
        key, spent = decision.key, decision.spent
        violated = violated_names(spent)
        name = (decision.reason, decision.stale, is_grpc, violated, key.kid)
        kept = self._over_limits.get(name)
        if kept is None or kept[0] is not key or kept[1] is not spent.terms:
            telling = Telling(spent.terms, legacy=self._legacy_headers)
            made = _refusal(decision, is_grpc, violated=violated, telling=telling)
            kept = _keep(self._over_limits, name, (key, spent.terms, made, telling))
        headers, metadata = kept[3].of_refused(spent)
        options = (field(_HEADERS, header(*pair)) for pair in headers.items())
        return kept[2], b"".join(options), metadata


def _refusal(
    decision: Deny,
    is_grpc: bool,
    *,
    scopes: Sequence[str] = (),
    violated: Sequence[str] = (),
    telling: Telling | None = None,
) -> _DenyBase:
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
    arm.headers.extend(_header(*pair) for pair in headers.items())
    answer.dynamic_metadata.update(_metadata(reason.value, decision))
    if telling:
        answer.dynamic_metadata.update(telling.metadata)
    if is_grpc:
        return answer.SerializeToString(), detail.encode(), b""
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
    return answer.SerializeToString(), before.encode(), b'"}'


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


def _identity(key: KeyRecord | None) -> dict[str, str]:
    """Every identity header, by its name after the prefix; an empty one is removed."""
    return {
        "key-id": key.kid if key else "",
        "client-id": key.client_id if key else "",
        "project-id": key.project_id if key else "",
        "tenant-id": key.tenant_id if key else "",
        "scopes": " ".join(sorted(key.scopes)) if key else "",
        "env": key.env if key else "",
        "plan": key.plan if key else "",
    }


def _metadata(reason: str, decision: Decision) -> dict[str, str | bool]:
    found: dict[str, str | bool] = {"reason": reason, "stale": decision.stale}
    if key := decision.key:
        found |= {
            "key_id": key.kid,
            "client_id": key.client_id,
            "project_id": key.project_id,
            "tenant_id": key.tenant_id,
            "plan": key.plan,
        }
    return {name: value for name, value in found.items() if value}


def _header(name: str, value: str) -> HeaderValueOption:
    # Envoy 1.40 reads `append`, other versions `append_action`: say it both ways.
    option = HeaderValueOption()
    option.header.key = name
    option.header.value = value
    option.append.value = False
    option.append_action = HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
    return option


def _charge_head(prefix: str) -> bytes:
    """dynamic_metadata {charge_id}, to be merged into the base's, but for the 12 digits at the end.

    Those are the count of answers: with the prefix, which is random, they make the id unique.
    """
    return metadata("charge_id", field(STRING, prefix.encode() + b"%012x" % 0))[:-12]


def _keep(kept: dict[_K, _V], name: _K, made: _V) -> _V:
    kept.pop(name, None)
    if len(kept) >= MAX_BASES:
        del kept[next(iter(kept))]
    kept[name] = made
    return made
