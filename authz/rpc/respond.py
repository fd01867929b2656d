"""Decision -> CheckResponse bytes. What a caller sees is made here, from one table.

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
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

from envoy.config.core.v3.base_pb2 import HeaderValueOption
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse

from authz.core.decision import Allow, Decision, Deny, Reason
from authz.core.records import KeyRecord
from authz.core.request import Request
from authz.flows.shelf import MAX_IN_USE
from authz.rpc.wire import field

MAX_BASES: Final = MAX_IN_USE  # unpacked once more, a record is another object
REALM: Final = "authz"
RETRY_AFTER_SECONDS: Final = 1

_K = TypeVar("_K")
_V = TypeVar("_V")
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)
# As Envoy tells it: `application/grpc-web` is not gRPC.
_GRPC: Final = re.compile(r"application/grpc(\+|\Z)", re.ASCII)
_DENIED, _METADATA, _ERROR, _BODY = 2, 4, 5, 3  # field numbers of CheckResponse and its arms

# What the base of a denial depends on, its record apart: whether it is stale, whether the caller
# speaks gRPC, the scopes that were missing, and the kid.
Refusal = tuple[Reason, bool, bool, frozenset[str], str]
_DenyBase = tuple[bytes, bytes, bytes]  # without its body; the body before and after the request id


@dataclass(frozen=True, slots=True)
class Row:
    """What a caller is told. grpc_code: a code of google.rpc.Code."""

    status: int
    grpc_code: int
    code: str
    title: str
    detail: str


_INVALID = Row(401, 16, "invalid_api_key", "Invalid API key", "The API key is not valid.")

# Reasons that a caller may learn before it has proven the secret all look the same.
TABLE: Final[dict[Reason, Row]] = {
    Reason.BAD_REQUEST: Row(
        400, 3, "bad_request", "Bad request", "The request could not be understood."
    ),
    Reason.AMBIGUOUS_PATH: Row(
        400, 3, "ambiguous_path", "Ambiguous path", "The path can be read in more than one way."
    ),
    Reason.MISSING_CREDENTIAL: Row(
        401, 16, "missing_api_key", "API key required", "The request carries no API key."
    ),
    Reason.AMBIGUOUS_CREDENTIAL: Row(
        401,
        16,
        "ambiguous_api_key",
        "Ambiguous API key",
        "The request carries more than one API key; send exactly one.",
    ),
    Reason.MALFORMED: _INVALID,
    Reason.FORGED: _INVALID,
    Reason.UNKNOWN_KEY: _INVALID,
    Reason.WRONG_SECRET: _INVALID,
    Reason.SECRET_RETIRED: Row(
        401,
        16,
        "api_key_rotated",
        "API key rotated",
        "This secret was rotated out; use the newer one of the same key.",
    ),
    Reason.REVOKED: Row(401, 16, "api_key_revoked", "API key revoked", "This API key was revoked."),
    Reason.DISABLED: Row(
        401, 16, "api_key_disabled", "API key disabled", "This API key is disabled."
    ),
    Reason.NOT_YET_VALID: Row(
        401, 16, "api_key_not_yet_valid", "API key not yet valid", "This API key is not valid yet."
    ),
    Reason.EXPIRED: Row(401, 16, "api_key_expired", "API key expired", "This API key has expired."),
    Reason.ROUTE_NOT_ALLOWED: Row(
        403, 7, "route_not_allowed", "Route not allowed", "No API key opens this route."
    ),
    Reason.WRONG_ENVIRONMENT: Row(
        403,
        7,
        "wrong_environment",
        "Wrong environment",
        "This API key belongs to another environment.",
    ),
    Reason.ADDRESS_NOT_ALLOWED: Row(
        403,
        7,
        "address_not_allowed",
        "Address not allowed",
        "This API key may not be used from this address.",
    ),
    Reason.HOST_NOT_ALLOWED: Row(
        403,
        7,
        "host_not_allowed",
        "Host not allowed",
        "This API key may not be used for this host.",
    ),
    Reason.ORIGIN_NOT_ALLOWED: Row(
        403,
        7,
        "origin_not_allowed",
        "Origin not allowed",
        "This API key may not be used from this origin.",
    ),
    Reason.INSUFFICIENT_SCOPE: Row(
        403, 7, "insufficient_scope", "Insufficient scope", "This API key lacks a required scope."
    ),
    Reason.UNAVAILABLE: Row(
        503,
        14,
        "unavailable",
        "Authorization unavailable",
        "Authorization is not possible at the moment; try again.",
    ),
}


class Responder:
    """Writes answers of one installation.

    header_prefix: of the identity headers. removed_headers: those that carry nothing but a key,
    removed on every allow. query: a parameter that may hold the key, or empty.
    """

    def __init__(
        self, *, header_prefix: str, removed_headers: Iterable[str], query: str = ""
    ) -> None:
        self._header_prefix = header_prefix
        self._removed = tuple(removed_headers)
        self._query = query
        self._charge_prefix = secrets.token_hex(8)
        self._charge_head = _charge_head(self._charge_prefix)
        self._charges = itertools.count(1)
        # Each base with the record it was made from. Not with its version: a store that was
        # restored gives a version out again.
        self._allows: dict[tuple[str, str], tuple[KeyRecord | None, bytes]] = {}
        self._stale_allows: dict[tuple[str, str], tuple[KeyRecord | None, bytes]] = {}
        self._denials: dict[Refusal, tuple[KeyRecord | None, _DenyBase]] = {}

    def write(self, decision: Decision, request: Request) -> bytes:
        """A serialised CheckResponse."""
        if isinstance(decision, Deny):
            return self._deny(decision, request)
        key, carrier = decision.key, request.carrier
        name = (key.kid if key else "", carrier)
        bases = self._allows if type(decision) is Allow else self._stale_allows
        kept = bases.get(name)
        if kept is None or kept[0] is not key:
            base = self._allow_base(decision, carrier) + self._charge_head
            kept = _keep(bases, name, (key, base))
        return kept[1] + b"%012x" % next(self._charges)

    def _allow_base(self, decision: Allow, carrier: str) -> bytes:
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
        answer.dynamic_metadata.update(_metadata("ok" if key else "anonymous", key, decision.stale))
        return bytes(answer.SerializeToString())

    def _deny(self, decision: Deny, request: Request) -> bytes:
        reason, key = decision.reason, decision.key
        is_grpc = _GRPC.match(request.header("content-type", "")) is not None
        scopes = request.route.scopes if reason is Reason.INSUFFICIENT_SCOPE else frozenset()
        name = (reason, decision.stale, is_grpc, scopes, key.kid if key else "")
        kept = self._denials.get(name)
        if kept is None or kept[0] is not key:
            made = _deny_base(decision, scopes, is_grpc)
            kept = _keep(self._denials, name, (key, made))
        base, before, after = kept[1]
        count = b"%012x" % next(self._charges)
        request_id = request.header("x-request-id", "")
        if not _REQUEST_ID.fullmatch(request_id):
            request_id = self._charge_prefix + count.decode()
        body = before if is_grpc else before + request_id.encode() + after
        arm = _ERROR if reason is Reason.UNAVAILABLE else _DENIED
        return base + field(arm, field(_BODY, body)) + self._charge_head + count


def _deny_base(decision: Deny, scopes: frozenset[str], is_grpc: bool) -> _DenyBase:
    reason = decision.reason
    row = TABLE[reason]
    detail = row.detail
    if scopes:
        detail = f"This API key lacks a required scope. Required: {' '.join(sorted(scopes))}."
    answer = CheckResponse()
    answer.status.code = row.grpc_code
    arm = answer.error_response if reason is Reason.UNAVAILABLE else answer.denied_response
    arm.status.code = row.status
    if not is_grpc:
        arm.headers.append(_header("content-type", "application/problem+json"))
    challenge = _challenge(reason, row, scopes)
    if challenge:
        arm.headers.append(_header("www-authenticate", challenge))
    if reason is Reason.UNAVAILABLE:
        arm.headers.append(_header("retry-after", str(RETRY_AFTER_SECONDS)))
    answer.dynamic_metadata.update(_metadata(reason.value, decision.key, decision.stale))
    if is_grpc:
        return answer.SerializeToString(), detail.encode(), b""
    problem = {
        "type": f"urn:authz:problem:{row.code}",
        "title": row.title,
        "status": row.status,
        "detail": detail,
        "code": row.code,
        "request_id": "",
    }
    before = json.dumps(problem).removesuffix('"}')
    return answer.SerializeToString(), before.encode(), b'"}'


def _challenge(reason: Reason, row: Row, scopes: frozenset[str]) -> str:
    """WWW-Authenticate in the form of RFC 6750, section 3."""
    if reason is Reason.MISSING_CREDENTIAL:
        return f'Bearer realm="{REALM}"'
    if reason is Reason.INSUFFICIENT_SCOPE:
        wanted = " ".join(sorted(scopes))
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
        "plan": "",
    }


def _metadata(reason: str, key: KeyRecord | None, stale: bool) -> dict[str, str | bool]:
    found: dict[str, str | bool] = {"reason": reason, "stale": stale}
    if key:
        found |= {
            "key_id": key.kid,
            "client_id": key.client_id,
            "project_id": key.project_id,
            "tenant_id": key.tenant_id,
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
    value = field(3, prefix.encode() + b"%012x" % 0)
    entry = field(1, b"charge_id") + field(2, value)
    return field(_METADATA, field(1, entry))[:-12]


def _keep(kept: dict[_K, _V], name: _K, made: _V) -> _V:
    kept.pop(name, None)
    if len(kept) >= MAX_BASES:
        del kept[next(iter(kept))]
    kept[name] = made
    return made
