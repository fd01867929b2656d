"""Refunding: gives units of a budget of a key back, with an audit entry."""

from dataclasses import replace
from typing import Protocol

from authz.core import changes
from authz.core.changes import Author, Refused
from authz.core.errors import BadInput, Unavailable
from authz.core.limits.amounts import ONE_OF_EACH
from authz.core.limits.charge import Charge, charge_for
from authz.core.limits.key_limits import KeyLimits, LimitGroup, Owner
from authz.core.limits.limit import Limit, OnOutage, parse_limit
from authz.core.limits.limit_counters import MOST_UNITS
from authz.core.limits.ports import LimitCounters, Refunds
from authz.core.ports import Clock
from authz.core.records import Status
from authz.flows.conditions import ANY, Conditions
from authz.flows.lifecycle import Changed, Lifecycle, Result


class RefundCounters(LimitCounters, Refunds, Protocol):
    """Counters of limits whose budgets can be refunded."""


class Refunding:
    """Refunds of budgets of keys."""

    def __init__(self, lifecycle: Lifecycle, counters: RefundCounters, clock: Clock) -> None:
        self._lifecycle = lifecycle
        self._counters = counters
        self._clock = clock

    async def refund(
        self, kid: str, budget: Limit, author: Author, conditions: Conditions = ANY
    ) -> Result:
        """Write an audit entry, then give the units back. budget: its `limit` are the units.

        Returns Refused if the key is revoked, or has used less in the current period. Raises as
        `Lifecycle.change` and `LimitCounters.look`, and Unavailable if the entry was written but
        the units may not be back.
        """
        record = await self._lifecycle.show(kid)
        conditions.check(record)
        conditions.guard(record, record)
        if record.status is not Status.REVOKED:
            _, used, _ = await self._look(kid, budget)
            if used < budget.limit:
                return Refused(f"{kid} has used {used} of {budget.name} now, less than the refund")
        result = await self._lifecycle.change(
            kid, lambda record, now: changes.refund(record, budget, author, now), conditions
        )
        if isinstance(result, Changed) and not conditions.dry_run:
            await self._give_back(kid, budget)
        return result

    async def _give_back(self, kid: str, budget: Limit) -> None:
        try:
            charge, _, now_ms = await self._look(kid, budget)
            await self._counters.refund(charge, budget.limit, now_ms)
        except Unavailable as cause:
            problem = f"the refund is in the audit trail, but may not be counted: {cause}"
            raise Unavailable(f"{problem}; see `authz keys limits {kid}`") from None

    async def _look(self, kid: str, budget: Limit) -> tuple[Charge, int, int]:
        """Return the charge of the budget alone, the used units, and the time of the counters."""
        whole = replace(budget, limit=MOST_UNITS)
        limits = KeyLimits((LimitGroup(Owner.KEY, kid, (whole,)),), OnOutage.DENY)
        now = self._clock.wall_ms()
        for _ in range(2):  # the second time in the period of the store's clock
            charge = charge_for(limits, ONE_OF_EACH, now)
            reply = await self._counters.look(charge)
            now = reply.now_us // 1000
            if reply.granted >= 0:
                return charge, MOST_UNITS - reply.left[0], now
        raise Unavailable("the store's clock is in no period")


def parse_refund(field: str, text: str) -> Limit:
    """Parse `2.50/month,of=usd`: the budget, and the units to give back.

    Raises BadInput for other text, and for a limit that is no budget.
    """
    budget = parse_limit(field, text)
    if not budget.is_budget:
        raise BadInput(field, "a refund is of a budget: of=tokens, of=usd or of=bytes_out")
    return budget
