"""The Limits service."""

from authz.core.access import visible
from authz.core.roles import Action
from authz.flows.admin_flows import AdminFlows
from authz.flows.limits.refunds import parse_refund
from authz.rpc.admin.call_context import CallContext
from authz.rpc.admin.changing import Changing
from authz.rpc.admin.guards import require_visible
from authz.rpc.admin.key_messages import key_message, limits_message
from authz.rpc.admin.values import LIMITS, kid_of_part, note_of, version_of, wait_seconds
from authz.rpc.pb.admin.v1 import limits_pb2


class LimitsService:
    """The methods of authz.admin.v1.Limits."""

    def __init__(self, flows: AdminFlows) -> None:
        self._flows = flows
        self._changing = Changing(flows)

    async def get_key_limits(
        self, request: limits_pb2.GetKeyLimitsRequest, context: CallContext
    ) -> limits_pb2.GetKeyLimitsResponse:
        """Return the use of the limits of a key. Raises NotFound also if the caller may not see it.

        Raises BadInput for a wrong name, UnknownPlan, Unreadable or Unavailable if it is unknown.
        """
        record = await self._flows.lifecycle.show(kid_of_part(request.name, LIMITS))
        require_visible(context.caller, record, Action.READ_LIMITS)
        report = await self._flows.limit_reports.of(record)
        sees_sidecars = not visible(context.caller, Action.READ_FLEET).is_empty
        return limits_pb2.GetKeyLimitsResponse(
            limits=limits_message(record, report, with_leases=sees_sidecars)
        )

    async def reset_key_limits(
        self, request: limits_pb2.ResetKeyLimitsRequest, context: CallContext
    ) -> limits_pb2.ResetKeyLimitsResponse:
        """Set the usage counters of a key to zero, not its credits and those of its pools.

        With `validate_only`, change nothing. Raises ApiError if the key is revoked, BadInput,
        NotFound also for a key that the caller may not see, Forbidden.
        """
        kid, dry_run = kid_of_part(request.name, LIMITS), request.validate_only
        author = self._changing.author(context, note_of(request.note))
        conditions = self._changing.conditions(context, Action.RESET_LIMITS, None, dry_run=dry_run)
        made = await self._changing.carry_out(
            context,
            lambda: self._flows.lifecycle.reset_limits(kid, author, conditions),
            wait_seconds(request.wait_time),
            dry_run=dry_run,
        )
        return limits_pb2.ResetKeyLimitsResponse(
            key=key_message(made.result.record), outcome=made.outcome
        )

    async def refund_key_limits(
        self, request: limits_pb2.RefundKeyLimitsRequest, context: CallContext
    ) -> limits_pb2.RefundKeyLimitsResponse:
        """Give units of a budget of a key back.

        With `validate_only`, change nothing. Raises ApiError if the key is revoked, has used less,
        or has another etag; BadInput, NotFound also for a key that the caller may not see,
        Forbidden.
        """
        kid, dry_run = kid_of_part(request.name, LIMITS), request.validate_only
        budget = parse_refund("budget", request.budget)
        author = self._changing.author(context, note_of(request.note))
        version = version_of(request.etag)
        conditions = self._changing.conditions(
            context, Action.RESET_LIMITS, version, dry_run=dry_run
        )
        made = await self._changing.carry_out(
            context,
            lambda: self._flows.refunding.refund(kid, budget, author, conditions),
            wait_seconds(request.wait_time),
            dry_run=dry_run,
        )
        return limits_pb2.RefundKeyLimitsResponse(
            key=key_message(made.result.record), outcome=made.outcome
        )
