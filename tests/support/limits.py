"""Limits of every kind."""

from hypothesis import strategies as st

from authz.core.limits.charge import SpendReply
from authz.core.limits.limit import MAX_LIMIT, MAX_LIMITS, MAX_QUOTA, CostOf, Limit, parse_limits
from authz.core.limits.periods import MAX_ANCHOR, ONCE, SLIDING, Calendar

NAMES = st.from_regex(r"[a-z][a-z0-9._-]{0,31}", fullmatch=True)


def limits(*texts):
    """Limits by their texts."""
    return parse_limits("limits", texts)


class MemoryCounters:
    """LimitCounters with so many units used of each counter, by its field; a fault instead of one.

    moves: how far the clock that counts is ahead of ours, in milliseconds. held: leases, by the id
    of the account.
    """

    def __init__(self, now, used=None, fault=None, moves=0, held=None):
        self.now = now + moves
        self.used = used or {}
        self.fault = fault
        self.asked = []
        self.resets = []
        self.held = held or {}

    async def look(self, charge):
        """Implement LimitCounters.look."""
        self.asked.append(charge)
        if self.fault:
            raise self.fault
        ends = charge.ends if charge.ends is not None else self.now + 1
        if not charge.begins <= self.now < ends:
            return SpendReply(-1, self.now * 1000, (), ())
        left = tuple(max(0, c.capacity - self.used.get(c.field, 0)) for c in charge.counters)
        rows = zip(charge.counters, left, strict=True)
        waits = tuple(
            0 if units >= c.charge else -1 if getattr(c, "never_resets", False) else 250_000
            for c, units in rows
        )
        return SpendReply(0, self.now * 1000, left, waits)

    async def spent(self, _charge):
        """Nothing was settled: no meter writes here."""
        return []

    async def leases(self, accounts, now):
        """Implement LimitCounters.leases."""
        held = [self.held.get(account.id, ()) for account in accounts]
        return [[lease for lease in found if lease.until > now] for found in held]

    async def reset(self, kid):
        """Implement LimitCounters.reset."""
        self.resets.append(kid)


@st.composite
def any_limit(draw):
    """Any limit that there may be."""
    sliding = draw(st.booleans())
    if sliding:
        per = draw(st.sampled_from(sorted(SLIDING.values(), key=str)))
        amount = draw(st.integers(1, MAX_LIMIT))
    elif draw(st.integers(0, 3)) == 0:
        per = ONCE
        amount = draw(st.integers(1, MAX_QUOTA))
    else:
        zone = draw(st.sampled_from(["UTC", "Europe/Berlin", "Etc/GMT+12"]))
        per = Calendar(draw(st.none() | st.integers(1, MAX_ANCHOR)), zone)
        amount = draw(st.integers(1, MAX_QUOTA))
    return Limit(
        name=draw(st.just(per.name) | NAMES),
        limit=amount,
        per=per,
        burst=draw(st.none() | st.integers(1, amount)) if sliding else None,
        cost_of=draw(st.sampled_from(CostOf)),
        enforce=draw(st.booleans()),
    )


def any_limits():
    """All sets of limits that a key may have."""
    return st.lists(any_limit(), max_size=MAX_LIMITS, unique_by=lambda limit: limit.name).map(tuple)
