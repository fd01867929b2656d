"""How the limits of a key stand."""

import pytest

from authz.core.errors import Unavailable, UnknownPlan
from authz.core.limits.charge import Lease
from authz.core.limits.key_limits import LimitPolicy
from authz.flows.limits.limit_report import LimitReports
from tests.support.fakes import DAY, NOW, FakeClock, make_record
from tests.support.limits import MemoryCounters, limits

AGREED = LimitPolicy(tenants={"t": limits("1000/h")})
KEY = make_record(limits=limits("10/s", "100/min,burst=5", "1000/month"))


def standings(counters, agreed=AGREED):
    """By these counters."""
    return LimitReports(counters, agreed, FakeClock())


async def test_used_and_remaining():
    """Each limit of the key and its pools has one figure of each, a burst has none of its own."""
    used = {"second s unit": 3, "minute min unit": 90, "minute min unit burst": 4}
    counters = MemoryCounters(NOW, used | {"hour h unit": 1000})
    record = make_record(tenant_id="t", limits=KEY.limits)

    standing = await standings(counters).of(record)

    assert standing.charge.key_limits.names == ("second", "minute", "month", "tenant:hour")
    assert standing.used() == [3, 90, 0, 1000]
    assert standing.result().remaining == (7, 1, 1000, 0)
    assert not standing.result().allowed


async def test_leases():
    """Leased units count in each limit as requests do; in a pool those of other keys, too."""
    ours, ended = Lease("one", 20, 2, NOW + 5), Lease("old", 9, 1, NOW)
    others = Lease("two", 30, 1, NOW + 9)
    record = make_record(tenant_id="t", limits=limits("9000/s", "calls=900/min,cost_of=request"))
    held = {record.kid: [ended, ours], "t": [ours, others]}

    standing = await standings(MemoryCounters(NOW, held=held)).of(record)

    assert standing.leases == ((ours,), (ours, others))
    assert standing.leased() == [40, 20, 70]


async def test_nothing_to_look_at():
    """A key without limits, and a request that costs nothing, ask nobody."""
    counters = MemoryCounters(NOW)

    assert await standings(counters).of(make_record()) is None
    assert await standings(counters).of(KEY, 0) is None
    with pytest.raises(UnknownPlan):
        await standings(counters).of(make_record(plan="gold"))
    assert counters.asked == []


async def test_the_month_is_that_of_the_store():
    """A clock that is in another month is told so, and asks once more."""
    ahead = MemoryCounters(NOW, moves=40 * DAY)

    standing = await standings(ahead).of(KEY)

    assert len(ahead.asked) == 2
    assert standing.now == NOW + 40 * DAY
    assert standing.charge.begins <= standing.now < standing.charge.ends


async def test_a_clock_in_no_month():
    """A store whose clock runs from one month to the next between two looks is given up."""

    class Fleeing(MemoryCounters):
        async def look(self, charge):
            self.now += 40 * DAY
            return await super().look(charge)

    with pytest.raises(Unavailable, match="in no period"):
        await standings(Fleeing(NOW)).of(KEY)
