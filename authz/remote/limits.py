"""Limits and credits over the admin API."""

from collections.abc import Sequence

from authz.core.errors import UnknownPlan
from authz.core.limits.charge import Lease
from authz.core.limits.credits import CREDITS
from authz.core.limits.key_limits import Owner
from authz.core.limits.periods import ONCE
from authz.core.records import KeyRecord
from authz.flows.limits.credit_report import Credits
from authz.flows.limits.limit_report import HeldLease, LimitUse, LimitView
from authz.remote.calls import Calls
from authz.remote.reading import each_of
from authz.remote.records import known, length_of, limit_of, ms_of, optional_ms
from authz.rpc.admin.values import LIMITS, name_of
from authz.rpc.pb.admin.v1 import limits_pb2


class RemoteLimits:
    """LimitReader over the admin API."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def view(self, record: KeyRecord) -> LimitView | None:
        """Return the use of the limits of a key, or None if neither it nor its pools have limits.

        The leases are only those that the caller may see.
        """
        found = await limits_of(self._calls, record.kid)
        if not found.limits:
            return None
        return LimitView(
            tuple(_use(row, record.kid) for row in found.limits),
            found.lease_requests,
            length_of(found.lease_time),
            tuple(_lease(one, record.kid) for one in found.leases),
        )


class RemoteCredits:
    """CreditReader over the admin API."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def of(self, records: Sequence[KeyRecord]) -> list[Credits | None]:
        """Return the credits of each key; None if it has none, or the settings lack its plan."""
        return await each_of(records, self._of)

    async def _of(self, record: KeyRecord) -> Credits | None:
        if not (record.plan or any(limit.never_resets for limit in record.limits)):
            return None
        try:
            found = await limits_of(self._calls, record.kid)
        except UnknownPlan:
            return None
        for row in found.limits:
            is_credits = row.limit.limit_name == CREDITS and row.limit.period == ONCE.text
            if row.owner == Owner.KEY and is_credits:
                return Credits(row.limit.amount, row.used)
        return None


async def limits_of(calls: Calls, kid: str) -> limits_pb2.KeyLimits:
    """Return the limits of a key. Raises UnknownPlan, NotFound, Unavailable."""
    request = limits_pb2.GetKeyLimitsRequest(name=f"{name_of(kid)}{LIMITS}")
    response = await calls.read(calls.client.limits.GetKeyLimits, request)
    found: limits_pb2.KeyLimits = response.limits
    return found


def _use(row: limits_pb2.LimitUse, kid: str) -> LimitUse:
    owner, owner_id = _owner(row.owner, kid)
    return LimitUse(
        limit=limit_of(row.limit.spec),
        name=row.limit.limit_name,
        owner=owner,
        owner_id=owner_id,
        used=row.used,
        remaining=row.remaining,
        leased=row.leased,
        resets_at=optional_ms(row, "reset_time"),
        spent=row.spent if row.HasField("spent") else None,
    )


def _lease(one: limits_pb2.KeyLimits.Lease, kid: str) -> HeldLease:
    lease = Lease(one.instance, one.requests, one.cost, ms_of(one.expire_time))
    return HeldLease(lease, *_owner(one.owner, kid))


def _owner(text: str, kid: str) -> tuple[Owner, str]:
    owner, _, owner_id = text.partition(":")
    return known(Owner, owner), owner_id or kid
