"""LimitReports: the use of a key's limits, read without taking anything from them."""

from dataclasses import dataclass
from typing import Protocol

from authz.core.errors import Unavailable
from authz.core.limits.amounts import ONE_OF_EACH, Cost
from authz.core.limits.charge import Charge, Lease, SpendReply, charge_for, limit_result
from authz.core.limits.counters import BurstCounter
from authz.core.limits.key_limits import LimitPolicy, LimitResult, Owner
from authz.core.limits.limit import Limit
from authz.core.limits.ports import LimitCounters, SettledBudgets
from authz.core.ports import Clock
from authz.core.records import KeyRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitUse:
    """The use of one limit. owner: of the limit, with the id of the key, project or tenant.

    resets_at: ms since the epoch; None for a window without use, and for credits. spent: of a
    budget, the use of ended requests or their estimate, else None.
    """

    limit: Limit
    name: str
    owner: Owner
    owner_id: str
    used: int
    remaining: int
    leased: int
    resets_at: int | None
    spent: int | None = None

    @property
    def reserved(self) -> int | None:
        """Units of a budget taken for requests whose use is not known, else None.

        They are under way, in leases, or their usage never came.
        """
        return None if self.spent is None else max(0, self.used - self.spent)


@dataclass(frozen=True, slots=True)
class HeldLease:
    """A lease that a sidecar holds, and the owner of its limits."""

    lease: Lease
    owner: Owner
    owner_id: str


@dataclass(frozen=True, slots=True)
class LimitView:
    """The use of the limits of a key and of its pools.

    lease_requests: how many requests a sidecar may take in advance, 0 for none. lease_ms: how long
    such a lease lasts.
    """

    uses: tuple[LimitUse, ...]
    lease_requests: int
    lease_ms: int
    leases: tuple[HeldLease, ...]


@dataclass(frozen=True, slots=True)
class LimitReport:
    """The counters' reply for one request that was not made.

    leases: the leases of each limit group, in the order of `charge.key_limits.groups`. spent: the
    real use of each budget, in the order of `charge.taken`.
    """

    charge: Charge
    reply: SpendReply
    leases: tuple[tuple[Lease, ...], ...]
    spent: tuple[int, ...] = ()

    @property
    def now(self) -> int:
        """The time of the reply, in milliseconds since the epoch by the store's clock."""
        return self.reply.now_us // 1000

    def result(self) -> LimitResult:
        """Return the result that the request would get at the time of the reply."""
        return limit_result(self.charge, self.reply)

    def used(self) -> list[int]:
        """Return the units used of each limit, without its burst. Units in a lease are used."""
        rows = zip(self.charge.counters, self.reply.left, strict=True)
        return [
            row.capacity - left
            for row, left in rows
            if not isinstance(row, BurstCounter) or row.burst > row.limit
        ]

    def view(self) -> LimitView:
        """Return the use of each limit, and the leases."""
        result, groups = self.result(), self.charge.key_limits.groups
        owners = [group for group in groups for _ in group.limits]
        rows = zip(
            *(owners, self.charge.key_limits.names, self.charge.key_limits.limits, self.used()),
            *(result.remaining, self.leased(), result.resets_ms),
            strict=True,
        )
        spent = iter(self.spent)
        size = self.charge.max_lease
        return LimitView(
            tuple(
                LimitUse(
                    limit=limit,
                    name=name,
                    owner=group.owner,
                    owner_id=group.id,
                    used=used,
                    remaining=remaining,
                    leased=leased,
                    resets_at=self.now + resets_ms if _resets(limit, used) else None,
                    spent=next(spent, 0) if limit.is_budget else None,
                )
                for group, name, limit, used, remaining, leased, resets_ms in rows
            ),
            size,
            round(self.charge.lease_seconds * 1000) if size else 0,
            tuple(
                HeldLease(lease, group.owner, group.id)
                for group, leases in zip(groups, self.leases, strict=True)
                for lease in leases
            ),
        )

    def leased(self) -> list[int]:
        """Return the units of each limit that are in leases, 0 if none. `used` includes them."""
        return [
            sum(lease.requests * limit.charge(lease.cost) for lease in leases)
            for group, leases in zip(self.charge.key_limits.groups, self.leases, strict=True)
            for limit in group.limits
        ]


def _resets(limit: Limit, used: int) -> bool:
    return not limit.never_resets and bool(used or limit.is_quota)


class Counters(LimitCounters, SettledBudgets, Protocol):
    """The counters of limits, and the settled use of budgets."""


class LimitReports:
    """Reads the counters of keys."""

    def __init__(self, counters: Counters, policy: LimitPolicy, clock: Clock) -> None:
        self._counters = counters
        self._policy = policy
        self._clock = clock
        self.on_outage_of = policy.on_outage_of

    async def view(self, record: KeyRecord) -> LimitView | None:
        """Return the use of the limits of a key, or None if it has none. Raises what `of` does."""
        report = await self.of(record)
        return report.view() if report else None

    async def of(self, record: KeyRecord, cost: Cost = ONE_OF_EACH) -> LimitReport | None:
        """Return the report for a request of `cost`, or None if it takes nothing from any limit.

        None if `cost` is 0 or neither the key nor its pools have limits. Counts nothing. Raises
        UnknownPlan if the settings lack the key's plan, Unreadable if the counters are garbled,
        Unavailable if the store fails or its clock fits no calendar period in two tries.
        """
        now = self._clock.wall_ms()
        found = self._policy.of(record, now)
        key_limits = found.taken_by(cost) if found else None
        if key_limits is None:
            return None
        for _ in range(2):  # the second time with the day and month of the store's clock
            charge = charge_for(key_limits, cost, now)
            reply = await self._counters.look(charge)
            now = reply.now_us // 1000
            if reply.granted >= 0:
                leases = await self._counters.leases(key_limits.groups, now)
                spent = await self._counters.spent(charge)
                return LimitReport(charge, reply, tuple(map(tuple, leases)), tuple(spent))
        raise Unavailable("the store's clock is in no period")
