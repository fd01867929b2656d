"""The Me service: a holder reads, rotates and revokes the key that it presents."""

from typing import Final

from authz.core.access import may_own
from authz.core.errors import Forbidden
from authz.core.records import KeyRecord
from authz.core.roles import OwnAction
from authz.flows.admin_flows import AdminFlows
from authz.flows.conditions import Conditions
from authz.rpc.admin.call_context import CallContext
from authz.rpc.admin.changing import Changing, Rotation
from authz.rpc.admin.key_messages import key_message, limits_message
from authz.rpc.admin.keys_service import OVERLAP_MS, revocation_reason
from authz.rpc.admin.usage_messages import latest_use_message, question, report_message
from authz.rpc.admin.values import duration_ms, wait_seconds
from authz.rpc.pb.admin.v1 import key_pb2, me_pb2

MAX_OVERLAP_MS: Final = OVERLAP_MS


class MeService:
    """The methods of authz.admin.v1.Me. The credential was judged as a Check would judge it.

    They raise Forbidden if the settings do not allow the action with this credential, BadInput for
    a wrong field, NotFound if the key was deleted, ApiError if its state forbids the change.
    """

    def __init__(self, flows: AdminFlows) -> None:
        self._flows = flows
        self._changing = Changing(flows)

    async def get_my_key(
        self, _request: me_pb2.GetMyKeyRequest, context: CallContext
    ) -> me_pb2.GetMyKeyResponse:
        """Return the caller's key, without its text and metadata."""
        return me_pb2.GetMyKeyResponse(key=_own(await self._find(context)))

    async def get_my_limits(
        self, _request: me_pb2.GetMyLimitsRequest, context: CallContext
    ) -> me_pb2.GetMyLimitsResponse:
        """Return the use of the limits of the caller's key."""
        record = await self._find(context)
        report = await self._flows.limit_reports.of(record)
        return me_pb2.GetMyLimitsResponse(limits=limits_message(record, report))

    async def get_my_usage(
        self, request: me_pb2.GetMyUsageRequest, context: CallContext
    ) -> me_pb2.GetMyUsageResponse:
        """Return the usage of the caller's key, and its latest use."""
        kid, usage = _own_kid(context, OwnAction.READ), self._flows.usage
        wanted, by = question(request, self._flows.clock.wall_ms(), of_keys=True)
        report = await usage.of_key(kid, wanted, by)
        return me_pb2.GetMyUsageResponse(
            report=report_message(report, list(report.groups), with_completeness=False),
            latest_use=latest_use_message(kid, await usage.latest_use(kid)),
        )

    async def rotate_my_key(
        self, request: me_pb2.RotateMyKeyRequest, context: CallContext
    ) -> me_pb2.RotateMyKeyResponse:
        """Give the caller's key a new secret, once for each request id. Return its text.

        The old secret works for `overlap`, at most 7 days and by default 7 days.
        With `validate_only`, change nothing and return no text.
        """
        kid = _own_kid(context, OwnAction.ROTATE)
        overlap = OVERLAP_MS
        if request.HasField("overlap"):
            overlap = duration_ms("overlap", request.overlap, MAX_OVERLAP_MS)
        conditions = Conditions(dry_run=request.validate_only)
        made = await self._changing.rotate(context, kid, Rotation(request, overlap), conditions)
        return me_pb2.RotateMyKeyResponse(key=_own(made.result.record), api_key=made.key_text)

    async def revoke_my_key(
        self, request: me_pb2.RevokeMyKeyRequest, context: CallContext
    ) -> me_pb2.RevokeMyKeyResponse:
        """Revoke the caller's key, and wait for the sidecars for at most `wait_time`.

        With `validate_only`, change nothing.
        """
        kid = _own_kid(context, OwnAction.REVOKE)
        reason, author = revocation_reason(request.reason), self._changing.author(context, "")
        conditions = Conditions(dry_run=request.validate_only)
        made = await self._changing.carry_out(
            context,
            lambda: self._flows.lifecycle.revoke(kid, reason, author, conditions),
            wait_seconds(request.wait_time),
            dry_run=conditions.dry_run,
        )
        return me_pb2.RevokeMyKeyResponse(key=_own(made.result.record), outcome=made.outcome)

    async def _find(self, context: CallContext) -> KeyRecord:
        return await self._flows.lifecycle.show(_own_kid(context, OwnAction.READ))


def _own_kid(context: CallContext, action: OwnAction) -> str:
    """Return the kid of the caller's key. Raises Forbidden if the settings do not allow this."""
    if not may_own(context.caller, action):
        raise Forbidden("admin.self_service does not allow this with your credential")
    return context.caller.kid


def _own(record: KeyRecord) -> key_pb2.Key:
    """Return the key of a record without its metadata, which are notes of the operator."""
    key = key_message(record)
    key.ClearField("metadata")
    return key
