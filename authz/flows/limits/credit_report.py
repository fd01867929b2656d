"""CreditReports: the credits of many keys and what is left of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from authz.core.errors import UnknownPlan
from authz.core.limits.credits import CREDITS
from authz.core.limits.key_limits import LimitGroup, LimitPolicy, Owner
from authz.core.limits.limit import Limit
from authz.core.limits.ports import CreditCounters
from authz.core.limits.throttle import NO_THROTTLE
from authz.core.records import KeyRecord


@dataclass(frozen=True, slots=True)
class Credits:
    """The credits of a key. used: units, those in leases included; above `total` after a cut."""

    total: int
    used: int

    @property
    def left(self) -> int:
        """The units that are left, at least 0."""
        return max(0, self.total - self.used)


class CreditReports:
    """Reads the credits of keys, their own or those of their plan, not those of pools."""

    def __init__(self, counters: CreditCounters, policy: LimitPolicy) -> None:
        self._counters = counters
        self._policy = policy

    async def of(self, records: Sequence[KeyRecord]) -> list[Credits | None]:
        """Return the credits of each key; None if it has none, or the settings lack its plan.

        Raises Unreadable if a counter is garbled, Unavailable if the store fails.
        """
        limits = [self._limit(record) for record in records]
        groups = [
            LimitGroup(Owner.KEY, record.kid, (limit,))
            for record, limit in zip(records, limits, strict=True)
            if limit is not None
        ]
        used = iter(await self._counters.used(groups))
        return [None if limit is None else Credits(limit.limit, next(used)) for limit in limits]

    def _limit(self, record: KeyRecord) -> Limit | None:
        try:
            found = self._policy.of(record, NO_THROTTLE)
        except UnknownPlan:
            return None
        groups = found.groups if found else ()
        limits = (limit for group in groups if group.owner is Owner.KEY for limit in group.limits)
        return next((one for one in limits if one.name == CREDITS and one.never_resets), None)
