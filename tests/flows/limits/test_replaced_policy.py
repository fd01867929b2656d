"""Limiter under a new policy, as after a reload of the settings."""

import pytest

from authz.core.errors import UnknownPlan
from authz.core.limits.key_limits import LimitPolicy
from authz.core.limits.limit import OnOutage
from tests.support.flows.limiter_rig import Rig
from tests.support.limits import limits

SMALL = LimitPolicy(plans={"small": limits("1000/min")})
LARGE = LimitPolicy(plans={"small": limits("2000/min")})


def leased(policy=SMALL, **fields):
    """Return a rig whose key holds a lease, and the number of store calls so far."""
    rig = Rig(policy=policy, plan="small", **fields)
    rig.lease(8)
    rig.store.asked.clear()
    return rig


@pytest.mark.parametrize("by", ["request", "migration"])
async def test_a_key_with_the_same_limits_keeps_its_lease(by):
    """The store gets no call, and the lease still serves."""
    rig = leased()
    before = rig.limiter._find(rig.record.kid)
    left = before.left
    assert left > 0
    rig.limiter.replace_policy(LimitPolicy(plans={**SMALL.plans, "more": limits("5/s")}))
    if by == "migration":
        assert not rig.limiter.migrate(10)
    rig.spend()
    state = rig.limiter._find(rig.record.kid)
    assert (state.left, rig.store.asked) == (left - 1, [])


@pytest.mark.parametrize("by", ["request", "migration"])
async def test_a_key_with_other_limits_returns_its_lease(by):
    """The unused units go back to the store, and the next request is judged by the new limit."""
    rig = leased()
    state = rig.limiter._find(rig.record.kid)
    unused = state.left
    rig.limiter.replace_policy(LARGE)
    if by == "migration":
        assert not rig.limiter.migrate(10)
    waiter = rig.spend()
    returned = [asked for asked in rig.store.asked if asked[2]]
    assert unused > 0
    assert [asked[2] for asked in returned] == [unused]
    (counter, *_) = rig.store.asked[-1][0].counters
    assert counter.limit == 2000
    assert not waiter.done()


async def test_a_plan_that_is_gone_makes_its_keys_undecidable():
    """The key of a removed plan raises UnknownPlan, and works again when the plan is back."""
    rig = leased()
    rig.limiter.replace_policy(LimitPolicy())
    for _ in range(2):
        with pytest.raises(UnknownPlan):
            rig.spend()
    rig.limiter.replace_policy(SMALL)
    assert rig.spend() is not None


async def test_migration_takes_steps():
    """Each step handles the given number of states."""
    rig = Rig(policy=SMALL, plan="small", max_keys=100)
    for cost in range(1, 8):
        rig.spend(cost)
    rig.limiter.replace_policy(LimitPolicy(plans=SMALL.plans, on_outage=OnOutage.DENY))
    assert [rig.limiter.migrate(3) for _ in range(3)] == [True, True, False]


async def test_pools_begin_and_end_with_the_policy():
    """A pool that a new policy adds counts for keys without limits of their own."""
    rig = Rig(project_id="shop")
    assert rig.spend() is None
    rig.limiter.replace_policy(LimitPolicy(projects={"shop": limits("10/s")}))
    assert rig.spend() is not None
    rig.limiter.replace_policy(LimitPolicy())
    assert rig.spend() is None
