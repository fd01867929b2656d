"""Pools of projects: each tenant has its own, also after an upgrade from shared pools."""

import asyncio
import itertools
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz.core.limits.charge import SpendRequest, charge_for
from authz.core.limits.key_limits import KeyLimits, LimitGroup, LimitPolicy, Owner
from authz.core.limits.limit import OnOutage, parse_limits
from tests.spending.history import fullest
from tests.spending.plans import BEGIN, limits, steps
from tests.spending.reference import Reference
from tests.spending.simulation import Sidecar, World
from tests.spending.store import TimedStore
from tests.support.fakes import make_record
from tests.support.storage import stored

DAY = 86_400_000_000
ASKED = st.tuples(steps(), st.sampled_from((1, 1, 2, 5)), st.integers(0, 20))


def pool(found, tenant=""):
    """The limits of a key that has only the pool of project `prod`."""
    return KeyLimits((LimitGroup(Owner.PROJECT, "prod", found, tenant),), OnOutage.DENY)


def take(store, key_limits, wanted, now=BEGIN):
    """Take from the pool and return the reply."""
    return store.spend(charge_for(key_limits, 1, now // 1000), SpendRequest(wanted), now)


def test_tenants_with_projects_of_one_name(valkey):
    """A tenant that uses up its pool takes nothing from the pool of another."""
    store, ten = TimedStore(valkey.admin), parse_limits("limits", ("10/d",))
    assert take(store, pool(ten, "one"), 12).granted == 10
    assert take(store, pool(ten, "other"), 4).left == (6,)
    assert take(store, pool(ten), 4).left == (6,)


@pytest.mark.parametrize("text", ["10/d", "10/d,burst=10", "10/calendar-day", "10/month"])
def test_a_pool_starts_with_what_the_project_had_used(valkey, text):
    """After an upgrade each tenant starts with all that was counted, and then counts alone."""
    store, ten = TimedStore(valkey.admin, persistent=False), parse_limits("limits", (text,))
    take(store, pool(ten), 7)

    assert take(store, pool(ten, "one"), 2).left[0] == 1
    assert take(store, pool(ten, "other"), 0).left[0] == 3
    assert take(store, pool(ten, "other"), 5).granted == 3
    assert take(store, pool(ten, "one"), 0).left[0] == 1
    for tenant in ("one", "other"):
        assert valkey.admin.pttl(stored.limit(f"project:{tenant}/prod")) > 0


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    found=limits(),
    before=st.lists(ASKED, min_size=1, max_size=10),
    after=st.lists(ASKED, min_size=1, max_size=10),
)
def test_an_upgrade_changes_no_reply(valkey, found, before, after):
    """For a project of one tenant every reply is as if the pool had never changed its name."""
    valkey.admin.flushdb()
    store, model, now = TimedStore(valkey.admin), Reference(), BEGIN
    for key_limits, asked in ((pool(found), before), (pool(found, "acme"), after)):
        for step, cost, wanted in asked:
            now += step
            request = SpendRequest(wanted)
            reply = store.spend(charge_for(key_limits, cost, now // 1000), request, now)
            same = charge_for(pool(found), cost, now // 1000)
            assert reply == model.spend(same, request, now)


# fleets


@dataclass(frozen=True)
class SharedPools(LimitPolicy):
    """The policy of earlier versions: projects of one id share a pool, whatever their tenant."""

    def of(self, record, now):
        """Implement LimitPolicy.of."""
        return pool(self.projects[record.project_id])


class FreshPools(LimitPolicy):
    """Mutant: a pool of a tenant does not start with what was counted before."""

    def of(self, record, now):
        """Implement LimitPolicy.of."""
        group = LimitGroup(Owner.TENANT, "prod", self.projects["prod"])
        return KeyLimits((group,), OnOutage.DENY)


LIMIT, TENANTS, SECONDS = 300, ("one", "other"), 3
UPGRADE = BEGIN + 10**6 + 500_000


async def upgraded(client, seed, policy=LimitPolicy, pause=0):
    """Sidecars of two tenants before and after an upgrade. pause: between one and the next.

    Returns the moments at which requests passed, by version and tenant.
    """
    client.flushall()
    pools = {"prod": parse_limits("limits", (f"{LIMIT}/s",))}
    world, passed = World(client, seed, ()), {}
    for number in range(4):
        tenant = TENANTS[number % 2]
        record = make_record(kid=f"{tenant:0>16}", project_id="prod", tenant_id=tenant)
        change = UPGRADE + number * pause
        old = Sidecar(world, SharedPools(projects=pools), record)
        new = Sidecar(world, policy(projects=pools), record)
        old.offer(1.5 * LIMIT, change)
        world.at(change, lambda old=old: setattr(old, "alive", False))
        world.at(change, lambda new=new: new.offer(1.5 * LIMIT, BEGIN + SECONDS * 10**6))
        passed.setdefault(("old", ""), []).append(old.passed)
        passed.setdefault(("new", tenant), []).append(new.passed)
    await world.run(BEGIN + (SECONDS + 2) * 10**6)
    return {name: sorted(itertools.chain(*lists)) for name, lists in passed.items()}


def most(*moments):
    """The most requests in any second."""
    return fullest([(moment, moment) for found in moments for moment in found], 10**6)


@pytest.mark.parametrize("seed", range(3))
def test_an_upgrade_at_one_moment(valkey, seed):
    """No second holds more than the limit, and afterwards each tenant gets all of its own."""
    passed = asyncio.run(upgraded(valkey.admin, seed))
    old = passed["old", ""]
    for tenant in TENANTS:
        new = passed["new", tenant]
        assert most(old, new) <= LIMIT
        assert len(new) > 0.9 * LIMIT


def test_an_upgrade_without_the_former_counters_is_caught(valkey):
    """The simulation sees a pool that starts empty: some second holds more than the limit."""
    passed = asyncio.run(upgraded(valkey.admin, 0, FreshPools))
    new = [passed["new", tenant] for tenant in TENANTS]
    assert most(passed["old", ""], *new) > LIMIT


@pytest.mark.parametrize("seed", range(2))
def test_a_rolling_upgrade(valkey, seed):
    """While both versions run, each keeps the limit: together at most twice for a tenant."""
    passed = asyncio.run(upgraded(valkey.admin, seed, pause=400_000))
    old = passed["old", ""]
    assert most(old) <= LIMIT
    for tenant in TENANTS:
        assert most(passed["new", tenant]) <= LIMIT
        assert most(old, passed["new", tenant]) <= 2 * LIMIT
