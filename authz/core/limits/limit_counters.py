"""The counters of a limit, and their names in the store."""

from typing import Final

from authz.core.limits.amounts import Cost
from authz.core.limits.counters import (
    BUCKETS,
    BudgetCounter,
    BurstCounter,
    Counter,
    PeriodCounter,
    WindowCounter,
)
from authz.core.limits.limit import Limit
from authz.core.limits.periods import Calendar, Once, Sliding

LEASED_SHARE: Final = 100  # a lease takes at most 1/100 of a limit
LEAST_LEASE: Final = 3  # requests; a smaller lease would not save a call to the store
# The smallest limit that can be leased: 1/100 of it is the smallest lease.
LEASABLE: Final = LEASED_SHARE * LEAST_LEASE
MOST_UNITS: Final = 2**47
"""The largest count of a budget, as lua/commit_usage.lua keeps it."""


def credits_field(limit: Limit) -> str:
    """Return the `field` of the counter of credits, such as `credits once unit`.

    It is the same after a refill.
    """
    return f"{limit.name} {limit.per} {limit.cost_of}"


def budget_field(limit: Limit) -> str:
    """Return the `field` of the counter of a budget, such as `usd-month month usd UTC`."""
    zone = f" {limit.per.zone}" if isinstance(limit.per, Calendar) else ""
    return f"{limit.name} {limit.per} {limit.of}{zone}"


def counters_of(limit: Limit, cost: Cost, now: int) -> tuple[Counter, ...]:
    """Return the counters of a limit for requests of `cost`: two for a rate with a burst below it.

    now: in ms since the epoch; it picks the calendar period.
    """
    units, per = limit.charge(cost), limit.per
    common = (limit.enforce, limit.limit, units)
    if limit.is_budget and not isinstance(per, Sliding):
        return (BudgetCounter(budget_field(limit), *common, *per.bounds(now)),)
    name = f"{limit.name} {per} {limit.cost_of}"
    if isinstance(per, Once):
        return (PeriodCounter(credits_field(limit), *common, *per.bounds(now)),)
    if isinstance(per, Calendar):
        return (PeriodCounter(f"{name} {per.zone}", *common, *per.bounds(now)),)
    if limit.is_token_bucket and limit.burst is not None:
        return (BurstCounter(f"{name} burst", *common, per.length_ms, limit.burst),)
    older_buckets = BUCKETS + (limit.limit >= LEASABLE)
    window = WindowCounter(name, *common, per.length_ms, older_buckets)
    if limit.burst is None:
        return (window,)
    return window, BurstCounter(f"{name} burst", *common, per.length_ms, limit.burst)
