"""VerifyKey: the decision that a sidecar would make on a request, and the result of each check."""

import ipaddress
import re
from collections.abc import Mapping
from typing import Final

from authz.core import fields
from authz.core.access import visible
from authz.core.decision import Deny, Reason
from authz.core.errors import BadInput
from authz.core.fields import MAX_ORIGIN, shown
from authz.core.limits.limit import MAX_COST
from authz.core.roles import Action
from authz.flows.admin_flows import AdminFlows
from authz.flows.verify import CHECKS, Verdict, VerdictView
from authz.rpc.admin.call_context import CallContext
from authz.rpc.admin.hiding import hide_time
from authz.rpc.admin.key_messages import key_message, limits_message
from authz.rpc.admin.values import kid_of
from authz.rpc.check.build_request import carried, check_request
from authz.rpc.check.verdict_view import NOWHERE, view_of
from authz.rpc.pb.admin.v1 import key_pb2, keys_pb2

MAX_KEY: Final = 512  # characters

_METHOD: Final = re.compile(r"[A-Z][A-Z-]{0,31}", re.ASCII)
_AUTHORITY: Final = re.compile(r"[!-+\--~]{1,260}", re.ASCII)  # printable, without a comma
_PATH: Final = re.compile(r"/[!-~]{0,8191}", re.ASCII)
_KEY: Final = re.compile(r"[!-+\--~]{1,512}", re.ASCII)


class KeyVerification:
    """The method VerifyKey of authz.admin.v1.Keys.

    carrier: the header of the settings that brings the key, as `extract.headers` has it.
    address_header: the header with the client's address, or `peer`.
    """

    def __init__(self, flows: AdminFlows, carrier: str, address_header: str) -> None:
        self._flows = flows
        self._carrier = carrier
        self._address_header = address_header

    async def verify_key(
        self, request: keys_pb2.VerifyKeyRequest, context: CallContext
    ) -> keys_pb2.VerifyKeyResponse:
        """Decide the request, and take nothing from limits.

        A key that the caller may not see is decided as an unknown one. Raises BadInput for a wrong
        field, Unavailable if the store fails.
        """
        if request.name and request.api_key:
            raise BadInput("name", "give either it or api_key")
        wanted = self._flows.read(self._check_request(request))
        verifier = await self._flows.verifier()
        if request.name:
            verdict = await verifier.verify_held(kid_of("name", request.name), wanted)
        else:
            verdict = await verifier.verify(wanted)
        record = verdict.record
        seen = visible(context.caller, Action.VERIFY)
        if record is not None and not seen.covers(record.tenant_id, record.project_id):
            passed = dict.fromkeys(CHECKS[: CHECKS.index("known")])
            verdict = Verdict(Deny(Reason.UNKNOWN_KEY), passed | {"known": Reason.UNKNOWN_KEY})
        if verdict.record is None:
            await hide_time(context.caller, context.began, self._flows.clock)
        return _response(verdict, view_of(verdict, wanted))

    def _check_request(self, request: keys_pb2.VerifyKeyRequest) -> bytes:
        """Return the serialised CheckRequest that Envoy would send. Raises BadInput.

        Without them the method is GET, the path `/`, and the host NOWHERE.
        """
        headers: dict[str, str] = {}
        if request.api_key:
            if not _KEY.fullmatch(request.api_key):
                raise BadInput("api_key", "1 to 512 printable characters without a comma")
            headers.update([carried(self._carrier, request.api_key)])
        if request.origin:
            headers["origin"] = fields.line("origin", request.origin, MAX_ORIGIN)
        address = _address(request.client_address)
        if address and self._address_header != "peer":
            headers[self._address_header] = address
        return check_request(
            method=_shaped("method", _METHOD, request.method or "GET", "POST"),
            host=_shaped("host", _AUTHORITY, request.host or NOWHERE, "api.example.com"),
            path=_shaped("path", _PATH, request.path or "/", "/v1/models"),
            peer=address,
            headers=headers,
            extensions=_extensions(request),
            model=fields.line("model", request.model),
        )


def _extensions(request: keys_pb2.VerifyKeyRequest) -> Mapping[str, str]:
    scopes = fields.scopes("required_scopes", request.required_scopes)
    found = {}
    if scopes:
        found["scopes"] = " ".join(sorted(scopes))
    if request.required_env:
        name = key_pb2.Key.Environment.Name(request.required_env)
        found["env"] = name.removeprefix("ENVIRONMENT_").lower()
    if request.HasField("cost"):
        if not 0 <= request.cost <= MAX_COST:
            raise BadInput("cost", f"a whole number from 0 to {MAX_COST}")
        found["cost"] = str(request.cost)
    if request.public_route:
        found["public"] = "true"
    return found


def _shaped(field: str, pattern: re.Pattern[str], text: str, good: str) -> str:
    if not pattern.fullmatch(text):
        raise BadInput(field, f"{shown(text)}: such as {good}")
    return text


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text)) if text else ""
    except ValueError:
        problem = f"{shown(text)} is not an address, such as 203.0.113.7"
        raise BadInput("client_address", problem) from None


def _response(verdict: Verdict, view: VerdictView) -> keys_pb2.VerifyKeyResponse:
    record = verdict.record
    response = keys_pb2.VerifyKeyResponse(
        allowed=view.reason is None,
        reason=view.reason or "",
        fault=verdict.fault,
        status_code=view.status,
        code=view.code or "",
        violated_limits=view.violated,
        enforced=view.is_enforced,
    )
    for row in view.rows:
        if row.result != "skipped":
            response.checks.add(
                check_name=row.check,
                passed=row.reason is None,
                reason=row.reason or "",
                detail=row.why,
            )
    if record is not None:
        response.key.CopyFrom(key_message(record))
        if verdict.limit_report is not None:
            response.limits.CopyFrom(limits_message(record, verdict.limit_report))
    return response
