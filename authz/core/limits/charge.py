"""Charge: the units that one request takes from each counter of its key; and the store's reply.

A SpendRequest asks the counters to take the charge for some requests. A SpendReply says how many of
them may pass. A LimitResult is that reply in the terms of limits, for one request.
"""

from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from authz.core.limits.amounts import Cost
from authz.core.limits.charge_once import RetryName
from authz.core.limits.counters import (
    BUCKETS,
    BudgetCounter,
    BurstCounter,
    Counter,
    PeriodCounter,
    WindowCounter,
)
from authz.core.limits.key_limits import KeyLimits, LimitGroup, LimitResult
from authz.core.limits.limit import Limit
from authz.core.limits.limit_counters import LEASED_SHARE, LEAST_LEASE, counters_of
from authz.core.limits.periods import Once, Sliding
from authz.core.limits.reserved import Taken, reserved_text, taken_from

LONGEST_LEASE: Final = 1.0  # seconds
RECHECK_CREDITS: Final = 60.0  # seconds; a lease of another sidecar may have come back
RECHECK_BUDGET: Final = 1.0  # seconds; a settlement may have returned a part of an estimate
DRIFT: Final = 0.001  # the store's clock may run faster than ours by this part


@dataclass(frozen=True, slots=True, eq=False)
class Charge:
    """The units that a request of `cost` takes from the counters of each limit group.

    begins, ends: the time for which the charge is valid, in milliseconds since the epoch, `ends`
    not included. Outside of it the calendar periods are others, and a new Charge is needed. If all
    limits are rates, `begins` is 0 and `ends` is None. windows: the length of each limit's window
    or current period, in seconds, 0 of credits; empty if all limits are rates. max_lease: the most
    requests in one lease; 0 if every request has to ask the store. lease_seconds: the life of a
    lease, below LONGEST_LEASE (1 s). reserved: what a request takes from budgets, as
    `reserved_text` writes it; empty without budgets. Every limit takes at least 1.
    """

    key_limits: KeyLimits
    cost: Cost
    groups: tuple[tuple[LimitGroup, tuple[Counter, ...]], ...]
    begins: int
    ends: int | None
    max_lease: int
    lease_seconds: float
    windows: tuple[int, ...] = ()
    counters: tuple[Counter, ...] = field(init=False)
    has_no_burst: bool = field(init=False)  # then there is one counter for each limit
    reserved: str = field(init=False)

    def __post_init__(self) -> None:
        counters = tuple(counter for _, of_group in self.groups for counter in of_group)
        object.__setattr__(self, "counters", counters)
        object.__setattr__(self, "has_no_burst", len(counters) == len(self.key_limits.limits))
        object.__setattr__(self, "reserved", reserved_text(self.taken))

    @property
    def taken(self) -> list[Taken]:
        """The units that a request takes from each budget."""
        return [
            taken_from(group, counter)
            for group, counters in self.groups
            for counter in counters
            if isinstance(counter, BudgetCounter)
        ]


class SpendRequest(NamedTuple):
    """A request to the counters of a charge.

    wanted: requests to take the charge for; as many are granted as there is room for. 0 only reads.
    lease: how many of them are for a lease; the others are granted first.
    returned: requests of an earlier grant that did not come. A negative number: requests that
    passed during an outage and were not counted.
    granted_at: `now_us` of the reply that granted the returned requests; 0 if none are returned.
    once: the name of the only request, which is charged once; then none are returned.
    """

    wanted: int
    lease: int = 0
    returned: int = 0
    granted_at: int = 0
    once: RetryName | None = None


class Lease(NamedTuple):
    """Requests that a sidecar was granted in advance. Some of them may have come since.

    holder: the instance name of the sidecar. cost: of each request. until: the latest end of the
    lease, in milliseconds since the epoch by the store's clock.
    """

    holder: str
    requests: int
    cost: Cost
    until: int


class SpendReply(NamedTuple):
    """The reply of the counters. `left` and `waits_us` are in the order of `charge.counters`.

    granted: requests that may pass. Negative: the request named a calendar period that is not the
    current one. Then nothing was counted, and `left` and `waits_us` are empty. now_us: microseconds
    since the epoch by the clock of the counters. left: units left after the grant, at least 0.
    waits_us: microseconds until a counter has room for one request. 0 if it had room before the
    grant; negative if it never has, unless credits are refilled. is_repeat: the request was charged
    before, and nothing was taken. reserved: what the first attempt took from budgets, of a request
    that is charged once; None of others.
    """

    granted: int
    now_us: int
    left: tuple[int, ...]
    waits_us: tuple[int, ...]
    is_repeat: bool = False
    reserved: str | None = None


def charge_for(key_limits: KeyLimits, cost: Cost, now: int) -> Charge:
    """Return the charge for a request of `cost` at `now`, in ms since the epoch.

    The request must take from each limit; see KeyLimits.taken_by. Calendar limits are counted in
    the periods that contain `now`.
    """
    groups = tuple(
        (group, tuple(c for limit in group.limits for c in counters_of(limit, cost, now)))
        for group in key_limits.groups
    )
    counters = [counter for _, of_group in groups for counter in of_group]
    periods = [counter for counter in counters if isinstance(counter, PeriodCounter)]
    windows = [counter for counter in counters if isinstance(counter, WindowCounter)]
    bucket_seconds = [counter.length_ms / BUCKETS / 1000 for counter in windows]
    return Charge(
        key_limits,
        cost,
        groups,
        begins=max((period.begins_ms for period in periods), default=0),
        ends=min((period.ends_ms for period in periods), default=None),
        max_lease=_max_lease(counters),
        lease_seconds=min([LONGEST_LEASE, *bucket_seconds]) * (1 - DRIFT),
        windows=tuple(_seconds(limit, now) for limit in key_limits.limits) if periods else (),
    )


def next_lease_size(charge: Charge, left: tuple[int, ...], demand: float) -> int:
    """Return the number of requests to lease next: 0, or LEAST_LEASE (3) to `charge.max_lease`.

    demand: requests observed in the life of a lease; the lease is not larger. left: units left by
    the last reply, in the order of `charge.counters`. Of a calendar period and of credits at most
    1/100 of the units left is leased: they do not come back soon, so leases shrink with them.
    """
    size = min(charge.max_lease, int(demand))
    for counter, units in zip(charge.counters, left, strict=True):
        if isinstance(counter, PeriodCounter):
            size = min(size, units // (LEASED_SHARE * counter.charge))
    return size if size >= LEAST_LEASE else 0


def limit_result(charge: Charge, reply: SpendReply, elapsed_us: int = 0) -> LimitResult:
    """Return the result for one request, `elapsed_us` microseconds after the reply.

    Each wait is shorter by `elapsed_us`, and rounded up to ms. A limit whose wait is over is not
    violated. A limit with two counters has the smaller `left` and the longer wait of them.
    `retry_after_ms` is 0 if no enforced limit is violated. It is None if the request never passes:
    it violates enforced credits, or takes more than the burst of an enforced limit, or without a
    burst, more than the limit.
    """
    if charge.has_no_burst and not any(reply.waits_us):  # the usual case, kept cheap
        now_us = reply.now_us + elapsed_us
        resets_ms = [counter.resets_in_ms(now_us) for counter in charge.counters]
        return LimitResult(
            charge.key_limits,
            reply.left,
            tuple(resets_ms),
            windows=charge.windows,
            reserved=_reserved(charge, reply, []),
            is_repeat=reply.is_repeat,
        )
    remaining: list[int] = []
    resets: list[int] = []
    violated: list[int] = []
    rows = iter(zip(charge.counters, reply.left, reply.waits_us, strict=True))
    for index, limit in enumerate(charge.key_limits.limits):
        counter, left, wait = next(rows)
        if limit.burst is not None and not limit.is_token_bucket:
            _, burst_left, burst_wait = next(rows)
            left, wait = min(left, burst_left), _longer(wait, burst_wait)
        wait = wait if wait < 0 else max(0, wait - elapsed_us)
        if wait:
            violated.append(index)
        remaining.append(left)
        now_us = reply.now_us + elapsed_us
        resets.append(_ms(wait) if wait > 0 else counter.resets_in_ms(now_us))
    enforced = [index for index in violated if charge.key_limits.limits[index].enforce]
    never = any(_never_passes(charge, index) for index in enforced)
    return LimitResult(
        charge.key_limits,
        tuple(remaining),
        tuple(resets),
        tuple(violated),
        None if never else max((resets[index] for index in enforced), default=0),
        charge.windows,
        _reserved(charge, reply, violated),
    )


def _reserved(charge: Charge, reply: SpendReply, violated: list[int]) -> str:
    """Return what a request took from budgets, without those that only report and had no room."""
    if reply.granted <= 0:
        return ""
    if reply.reserved is not None:
        return reply.reserved
    if not violated:
        return charge.reserved
    budgets = [at for at, limit in enumerate(charge.key_limits.limits) if limit.is_budget]
    pairs = zip(budgets, charge.taken, strict=True)
    return reserved_text([taken for at, taken in pairs if at not in violated])


def seconds_until_room(charge: Charge, reply: SpendReply) -> float:
    """Return the seconds from the reply until a refused request may pass; infinity if never.

    The longest wait of the enforced counters counts. The charge must have at least one of them. The
    wait of credits that are used up is taken as RECHECK_CREDITS (60 s), and that of a budget as
    RECHECK_BUDGET (1 s) at most.
    """
    return max(
        _seconds_of(counter, wait)
        for counter, wait in zip(charge.counters, reply.waits_us, strict=True)
        if counter.enforced
    )


def credits_part(charge: Charge) -> Charge | None:
    """Return a charge of the same cost to the credits alone, or None if it takes from none.

    A reset of a key's counters leaves its credits as they are. So what was taken from them can be
    returned also after a change of the key.
    """
    groups = tuple(
        replace(group, limits=kept)
        for group in charge.key_limits.groups
        if (kept := tuple(limit for limit in group.limits if limit.never_resets))
    )
    if not groups:
        return None
    return charge_for(KeyLimits(groups, charge.key_limits.on_outage), charge.cost, charge.begins)


def _seconds_of(counter: Counter, wait: int) -> float:
    if isinstance(counter, BudgetCounter) and wait and counter.charge <= counter.limit:
        return min(wait / 1e6, RECHECK_BUDGET) if wait > 0 else RECHECK_BUDGET
    if wait >= 0:
        return wait / 1e6
    is_used_up = isinstance(counter, PeriodCounter) and counter.charge <= counter.limit
    return RECHECK_CREDITS if is_used_up else float("inf")


def _seconds(limit: Limit, now: int) -> int:
    if isinstance(limit.per, Once):
        return 0
    if isinstance(limit.per, Sliding):
        return limit.per.length_ms // 1000
    begins, ends = limit.per.bounds(now)
    return (ends - begins) // 1000


def _max_lease(counters: list[Counter]) -> int:
    """Return the most requests in one lease: 1/100 of the smallest limit, 0 if below LEAST_LEASE.

    0 also if one counter is a burst: a lease would take the units at once, not evenly.
    """
    if any(isinstance(counter, BurstCounter) for counter in counters):
        return 0
    size = min(counter.limit // (LEASED_SHARE * counter.charge) for counter in counters)
    return size if size >= LEAST_LEASE else 0


def _never_passes(charge: Charge, index: int) -> bool:
    """Return True if a request that this limit refused cannot pass later; for credits always."""
    limit = charge.key_limits.limits[index]
    most = limit.limit if limit.burst is None else limit.burst
    return limit.never_resets or limit.charge(charge.cost) > most


def _longer(wait: int, other: int) -> int:
    return -1 if min(wait, other) < 0 else max(wait, other)


def _ms(microseconds: int) -> int:
    return -(-microseconds // 1000)
