"""Counters of limits in several partitions: those of a key and its pools are in one."""

from collections.abc import Sequence
from typing import Protocol

from authz.core.limits.charge import Charge, Lease, SpendReply
from authz.core.limits.key_limits import LimitGroup, Owner
from authz.core.limits.ports import CreditCounters
from authz.core.partitions import Partitions
from authz.flows.limits.limit_report import Counters as SettledCounters
from authz.flows.limits.refunds import RefundCounters
from authz.flows.partitioned.asking import ask, ask_each


class Counters(RefundCounters, SettledCounters, Protocol):
    """All that is asked of the counters of one partition."""


class PartitionedCounters:
    """LimitCounters, Refunds and SettledBudgets."""

    def __init__(self, partitions: Partitions, parts: Sequence[Counters]) -> None:
        self._partitions = partitions
        self._parts = parts

    async def look(self, charge: Charge) -> SpendReply:
        """Implement LimitCounters.look."""
        at = self._home(charge.key_limits.groups)
        return await ask(at, self._parts[at].look(charge))

    async def leases(self, groups: Sequence[LimitGroup], now: int) -> list[list[Lease]]:
        """Implement LimitCounters.leases. groups: of one key."""
        if not groups:
            return []
        at = self._home(groups)
        return await ask(at, self._parts[at].leases(groups, now))

    async def reset(self, kid: str) -> None:
        """Implement LimitCounters.reset."""
        at = self._partitions.of(kid)
        await ask(at, self._parts[at].reset(kid))

    async def spent(self, charge: Charge) -> Sequence[int]:
        """Implement SettledBudgets.spent."""
        at = self._home(charge.key_limits.groups)
        return await ask(at, self._parts[at].spent(charge))

    async def refund(self, charge: Charge, units: int, now_ms: int) -> None:
        """Implement Refunds.refund."""
        at = self._home(charge.key_limits.groups)
        await ask(at, self._parts[at].refund(charge, units, now_ms))

    def _home(self, groups: Sequence[LimitGroup]) -> int:
        return home_of(groups[0], self._partitions)


class PartitionedCredits:
    """CreditCounters."""

    def __init__(self, partitions: Partitions, parts: Sequence[CreditCounters]) -> None:
        self._partitions = partitions
        self._parts = parts

    async def used(self, groups: Sequence[LimitGroup]) -> Sequence[int]:
        """Implement CreditCounters.used."""
        return await ask_each(
            groups,
            lambda group: home_of(group, self._partitions),
            lambda at, own: self._parts[at].used(own),
        )


def home_of(group: LimitGroup, partitions: Partitions) -> int:
    """Return the partition of a group: of a key that of its kid, of a pool that of its keys."""
    match group.owner:
        case Owner.KEY:
            return partitions.of(group.id)
        case Owner.PROJECT:
            return partitions.home("", group.id, group.tenant_id)
        case Owner.TENANT:
            return partitions.home("", "", group.id)
