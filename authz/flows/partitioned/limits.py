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
from authz.flows.partitioned.places import Places


class Counters(RefundCounters, SettledCounters, Protocol):
    """All that is asked of the counters of one partition."""


class PartitionedCounters:
    """LimitCounters, Refunds and SettledBudgets."""

    def __init__(self, places: Places, parts: Sequence[Counters]) -> None:
        self._places = places
        self._parts = parts

    async def look(self, charge: Charge) -> SpendReply:
        """Implement LimitCounters.look."""
        at = await self._home(charge.key_limits.groups)
        return await ask(at, self._parts[at].look(charge))

    async def leases(self, groups: Sequence[LimitGroup], now: int) -> list[list[Lease]]:
        """Implement LimitCounters.leases. groups: of one key."""
        if not groups:
            return []
        at = await self._home(groups)
        return await ask(at, self._parts[at].leases(groups, now))

    async def reset(self, kid: str) -> None:
        """Implement LimitCounters.reset."""
        at = await self._places.of(kid)
        await ask(at, self._parts[at].reset(kid))

    async def spent(self, charge: Charge) -> Sequence[int]:
        """Implement SettledBudgets.spent."""
        at = await self._home(charge.key_limits.groups)
        return await ask(at, self._parts[at].spent(charge))

    async def refund(self, charge: Charge, units: int, now_ms: int) -> None:
        """Implement Refunds.refund."""
        at = await self._home(charge.key_limits.groups)
        await ask(at, self._parts[at].refund(charge, units, now_ms))

    async def _home(self, groups: Sequence[LimitGroup]) -> int:
        """Return the home of the key of these groups. Its last one is a pool, if there is any."""
        return (await homes_of(groups[-1:], self._places))[0]


class PartitionedCredits:
    """CreditCounters."""

    def __init__(self, places: Places, parts: Sequence[CreditCounters]) -> None:
        self._places = places
        self._parts = parts

    async def used(self, groups: Sequence[LimitGroup]) -> Sequence[int]:
        """Implement CreditCounters.used."""
        homes = await homes_of(groups, self._places)
        return await ask_each(groups, homes, lambda at, own: self._parts[at].used(own))


async def homes_of(groups: Sequence[LimitGroup], places: Places) -> list[int]:
    """Return the partition of each group: that of its key, or of the keys of its pool.

    Raises as `Places.of`.
    """
    kids = [group.id for group in groups if group.owner is Owner.KEY]
    of_keys = iter(await places.of_all(kids))
    return [
        next(of_keys) if group.owner is Owner.KEY else _of_pool(group, places.partitions)
        for group in groups
    ]


def _of_pool(group: LimitGroup, partitions: Partitions) -> int:
    if group.owner is Owner.PROJECT:
        return partitions.home("", group.id, group.tenant_id)
    return partitions.home("", "", group.id)
