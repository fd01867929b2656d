"""LimitReports: how the limits of a key stand, without taking anything from them."""

from dataclasses import dataclass

from authz.core.errors import Unavailable
from authz.core.limits.charge import Charge, Kind, Lease, SpendReply, charge, settle
from authz.core.limits.key_limits import LimitPolicy, LimitResult
from authz.core.ports import Clock, LimitCounters
from authz.core.records import KeyRecord


@dataclass(frozen=True, slots=True)
class LimitReport:
    """What the counters said of one request, which was not made.

    leases: who holds requests in advance, of each account of the terms.
    """

    charge: Charge
    receipt: SpendReply
    leases: tuple[tuple[Lease, ...], ...]

    @property
    def now(self) -> int:
        """When that was, in milliseconds since the epoch by the clock that counts."""
        return self.receipt.now // 1000

    def spent(self) -> LimitResult:
        """What would become of the request."""
        return settle(self.charge, self.receipt)

    def used(self) -> list[int]:
        """Units used of each limit of the terms. What a lease holds is used."""
        rows = zip(self.charge.counters, self.receipt.left, strict=True)
        return [row.limit - left for row, left in rows if row.kind is not Kind.SMOOTH]

    def leased(self) -> list[int]:
        """Units of each limit of the terms that leases were granted. They are among those used."""
        return [
            sum(lease.requests * limit.charge(lease.cost) for lease in held)
            for account, held in zip(self.charge.terms.accounts, self.leases, strict=True)
            for limit in account.limits
        ]


class LimitReports:
    """Looks at counters."""

    def __init__(self, counters: LimitCounters, agreements: LimitPolicy, clock: Clock) -> None:
        self._counters = counters
        self._agreements = agreements
        self._clock = clock
        self.on_outage_of = agreements.on_outage_of

    async def of(self, record: KeyRecord, cost: int = 1) -> LimitReport | None:
        """How the limits of a key stand for a request of `cost`; None: nothing is taken.

        Raises UnknownPlan, Unreadable when the counters are garbled, Unavailable.
        """
        terms = self._agreements.of(record)
        if terms is None or not cost:
            return None
        now = self._clock.wall_ms()
        for _ in range(2):  # the second time with the day and month of the store's clock
            asked = charge(terms, cost, now)
            receipt = await self._counters.look(asked)
            now = receipt.now // 1000
            if receipt.granted >= 0:
                leases = await self._counters.leases(terms.accounts, now)
                return LimitReport(asked, receipt, tuple(map(tuple, leases)))
        raise Unavailable("the store's clock is in no period")
