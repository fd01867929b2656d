"""The Policy service: rotation policies, and the keys that are due."""

from typing import Final

from authz.core.roles import Action
from authz.core.rotation import RotationPolicy
from authz.flows.admin_flows import AdminFlows
from authz.flows.due_keys import DueKey, Place
from authz.flows.waiting_deliveries import WaitingDelivery
from authz.rpc.admin.call_context import CallContext
from authz.rpc.admin.key_messages import key_message
from authz.rpc.admin.page_tokens import PageTokens
from authz.rpc.admin.paging import page_size, selection_for
from authz.rpc.admin.values import duration, duration_ms, kid_of, timestamp
from authz.rpc.pb.admin.v1 import policy_pb2

WITHIN_MS: Final = 14 * 86_400_000


class PolicyService:
    """The methods of authz.admin.v1.Policy."""

    def __init__(self, flows: AdminFlows, tokens: PageTokens) -> None:
        self._flows = flows
        self._tokens = tokens

    async def list_rotation_policies(
        self, _request: policy_pb2.ListRotationPoliciesRequest, _context: CallContext
    ) -> policy_pb2.ListRotationPoliciesResponse:
        """Return the rotation policies by plan, then that of all other keys."""
        policies = self._flows.policies
        found = [_policy(plan, one) for plan, one in sorted(policies.plans.items())]
        if policies.default is not None:
            found.append(_policy("", policies.default))
        return policy_pb2.ListRotationPoliciesResponse(rotation_policies=found)

    async def list_due_keys(
        self, request: policy_pb2.ListDueKeysRequest, context: CallContext
    ) -> policy_pb2.ListDueKeysResponse:
        """Return a page of the due keys that the caller may see, the most urgent first.

        Raises BadInput for a wrong field or token.
        """
        size, within = page_size(request.page_size), WITHIN_MS
        if request.HasField("within"):
            within = duration_ms("within", request.within)
        about = ("ListDueKeys", context.caller.actor, str(within))
        after = _place(self._tokens.open(request.page_token, *about))
        selector, keep = selection_for(context.caller, Action.READ_KEYS, "")
        response = policy_pb2.ListDueKeysResponse()
        if selector is None:
            return response
        found = await self._flows.due_keys.first(
            within, size + 1, after, selector=selector, keep=keep
        )
        response.due_keys.extend(map(_due, found[:size]))
        if len(found) > size:
            at, kid = found[size - 1].place
            response.next_page_token = self._tokens.seal(f"{at} {kid}", *about)
        return response

    async def list_pending_deliveries(
        self, request: policy_pb2.ListPendingDeliveriesRequest, context: CallContext
    ) -> policy_pb2.ListPendingDeliveriesResponse:
        """Return a page of the deliveries of keys that the caller may see, the oldest first.

        Raises BadInput for a wrong field or token.
        """
        size, kid = page_size(request.page_size), kid_of("key", request.key) if request.key else ""
        about = ("ListPendingDeliveries", context.caller.actor, kid)
        after = _place(self._tokens.open(request.page_token, *about))
        selector, keep = selection_for(context.caller, Action.READ_KEYS, "")
        response = policy_pb2.ListPendingDeliveriesResponse()
        if selector is None:
            return response
        found = await self._flows.waiting_deliveries.find(kid, keep)
        rest = [one for one in found if after is None or one.place > after]
        response.pending_deliveries.extend(map(_pending, rest[:size]))
        if len(rest) > size:
            at, kid = rest[size - 1].place
            response.next_page_token = self._tokens.seal(f"{at} {kid}", *about)
        return response


def _place(position: str) -> Place | None:
    at, _, kid = position.partition(" ")
    return (int(at), kid) if position else None


def _policy(plan: str, policy: RotationPolicy) -> policy_pb2.RotationPolicy:
    return policy_pb2.RotationPolicy(
        plan=plan,
        rotate_every=duration(policy.rotate_every_ms),
        reminders=map(duration, policy.remind_ms),
    )


def _due(one: DueKey) -> policy_pb2.DueKey:
    return policy_pb2.DueKey(
        key=key_message(one.record),
        secret_id=one.record.newest_secret.id,
        due_time=timestamp(one.at),
        overdue=one.is_overdue,
    )


def _pending(one: WaitingDelivery) -> policy_pb2.PendingDelivery:
    return policy_pb2.PendingDelivery(
        key=key_message(one.record),
        secret_id=one.secret,
        target=one.target,
        begin_time=timestamp(one.began_at),
        undecided=one.is_undecided,
    )
