"""Budgets on the real scripts: they agree with a plain model, and use stays within the bound."""

import random

import pytest

from authz.core.limits.amounts import Amounts
from authz.core.limits.charge import SpendRequest, charge_for
from authz.core.limits.key_limits import LimitGroup, Owner
from authz.core.usage.commit import Budget, Settlement
from authz.storage.limits.stored_counters import StoredCounters
from tests.spending import settling
from tests.spending import store as timed
from tests.spending.budget_histories import play
from tests.spending.budget_simulation import HIGHEST, LEARNED, LEARNED_P95, MEAN, simulate
from tests.spending.plans import BEGIN, make_terms
from tests.spending.settling import TimedMeter
from tests.spending.store import TimedStore
from tests.support.real import Valkey

KID = "k" * 16
MUTANTS = {
    "a settlement counts again": ("if #known > 0 then", "if false then"),
    "a settlement of an earlier period counts now": ("stored_end ~= ends", "false"),
    "more is returned than was taken": ("math.max(0, math.min(total", "math.abs(math.min(total"),
    "the real use is not counted": ("total + used - taken", "total"),
}
LEASE_MUTANTS = {
    "a lease of the last period is given back to this one": ("booked >= c.a * 1000", "booked >= 0"),
    "what is given back is lost": ("elseif booked >= c.a * 1000 then", "elseif false then"),
    "requests of an outage are not counted": ("min(-back * c.charge,", "min(0,"),
}


def test_random_histories(valkey):
    """Requests, settlements in any order, repeated and lost ones, and time: as the model says."""
    play(valkey.admin, 60)


@pytest.mark.parametrize("change", MUTANTS.values(), ids=MUTANTS)
def test_the_histories_find_a_script_that_settles_wrong(valkey, monkeypatch, change):
    """Each of these faults differs from the model within some histories."""
    assert settling.COMMIT.count(change[0]) == 1
    monkeypatch.setattr(settling, "COMMIT", settling.COMMIT.replace(*change))
    with pytest.raises(AssertionError):
        play(valkey.admin, 60)


@pytest.mark.parametrize("change", LEASE_MUTANTS.values(), ids=LEASE_MUTANTS)
def test_the_histories_find_leases_that_are_counted_wrong(valkey, monkeypatch, change):
    """Each fault of the script that counts leases differs from the model, too."""
    assert timed.SPEND.count(change[0]) == 1
    monkeypatch.setattr(timed, "SPEND", timed.SPEND.replace(*change))
    with pytest.raises(AssertionError):
        play(valkey.admin, 400)


@pytest.mark.parametrize("lost", [0, 0.05, 1])
async def test_an_estimate_of_the_most_is_never_exceeded(valkey, lost):
    """If no request can use more than its estimate, real use never exceeds the budget."""
    outcome = await simulate(valkey.admin, spending=HIGHEST, lost=lost, limit=150_000)
    assert outcome.used <= outcome.limit


@pytest.mark.parametrize("lost", [0, 0.05, 1])
async def test_an_estimate_of_the_mean_keeps_the_bound(valkey, lost):
    """Real use exceeds the budget at most by what requests under way, or lost ones, used beyond.

    With no loss, nearly all of the budget is used.
    """
    outcome = await simulate(valkey.admin, spending=MEAN, lost=lost, limit=150_000)
    assert outcome.used <= outcome.bound
    assert lost or outcome.used >= 0.97 * outcome.limit


@pytest.mark.parametrize("spending", [LEARNED, LEARNED_P95], ids=["mean", "p95"])
async def test_a_learned_estimate_keeps_the_bound(valkey, spending):
    """With 5 % of the usage lost, real use is within the bound and at most 2 % over the budget."""
    outcome = await simulate(valkey.admin, spending=spending, lost=0.05, limit=600_000)
    assert outcome.used <= min(outcome.bound, 1.02 * outcome.limit)


def budget_of(charge):
    """The only budget of a charge."""
    (taken,) = charge.taken
    return Budget(LimitGroup(Owner.KEY, KID, ()), taken.ends_ms, taken.counter)


async def test_a_settlement_after_a_reset_changes_nothing(valkey):
    """A counter that was reset stays at 0: what was taken before is not in it."""
    store, meter = TimedStore(valkey.admin), TimedMeter(valkey.admin)
    charge = charge_for(make_terms("5000/month,of=tokens"), Amounts(1, 800), BEGIN // 1000)
    store.spend(charge, SpendRequest(1), BEGIN)
    async with valkey.endpoint.client() as client:
        await StoredCounters(client).reset(KID)
    assert meter.settle({budget_of(charge): Settlement(0, 800)}, b"one", BEGIN)
    assert store.spend(charge, SpendRequest(0), BEGIN).left == (5000,)


async def test_what_was_spent_can_be_read(valkey):
    """The sum of the real use is kept beside the counter, for the current period."""
    store, meter = TimedStore(valkey.admin), TimedMeter(valkey.admin)
    charge = charge_for(make_terms("5000/month,of=tokens"), Amounts(1, 800), BEGIN // 1000)
    store.spend(charge, SpendRequest(3), BEGIN)
    meter.settle({budget_of(charge): Settlement(1100, 1600)}, b"one", BEGIN)
    meter.settle({budget_of(charge): Settlement(2000, 800)}, b"two", BEGIN)
    assert store.spend(charge, SpendRequest(0), BEGIN).left == (5000 - 3100,)
    later = charge_for(make_terms("5000/month,of=tokens"), Amounts(1, 800), charge.ends)
    async with valkey.endpoint.client() as client:
        assert await StoredCounters(client).spent(charge) == [3100]
        assert await StoredCounters(client).spent(later) == [0]
        assert await StoredCounters(client).garbled([KID]) == []


@pytest.mark.parametrize("seed", range(3))
def test_a_settlement_counts_once_however_often_it_comes(seed):
    """Batches come five times each, in any order, before and after a restart of the store."""
    chance = random.Random(seed)
    with Valkey("--appendonly", "yes", "--appendfsync", "always") as valkey:
        charge = charge_for(make_terms("90000/month,of=tokens"), Amounts(1, 800), BEGIN // 1000)
        TimedStore(valkey.admin).spend(charge, SpendRequest(3), BEGIN)
        budget = budget_of(charge)
        batches = [({budget: Settlement(used, 800)}, b"%d" % used) for used in (0, 10, 4000)]
        sent = chance.sample(batches * 5, 15)
        middle = chance.randrange(1, 15)
        counted = 0
        for part in (sent[:middle], sent[middle:]):
            store, meter = TimedStore(valkey.admin), TimedMeter(valkey.admin)
            store.set_clock(BEGIN)
            counted += sum(meter.settle(*batch, BEGIN) for batch in part)
            valkey.restart(empty=False)
        assert counted == 3
        left = TimedStore(valkey.admin).spend(charge, SpendRequest(0), BEGIN).left
    assert left == (90_000 - 4010,)


def test_a_counter_that_cannot_be_read_stops_no_other(valkey):
    """Settlements of a garbled counter are reported; those of other keys count."""
    store, meter = TimedStore(valkey.admin), TimedMeter(valkey.admin)
    charge = charge_for(make_terms("5000/month,of=tokens"), Amounts(1, 800), BEGIN // 1000)
    store.spend(charge, SpendRequest(1), BEGIN)
    budget = budget_of(charge)
    other = budget._replace(group=LimitGroup(Owner.KEY, "q" * 16, ()))
    valkey.admin.hset(f"authz:{{0}}:limit:{'q' * 16}", other.counter, "nonsense")
    with pytest.raises(AssertionError):  # one counter is reported
        meter.settle({other: Settlement(1, 2), budget: Settlement(100, 800)}, b"one", BEGIN)
    assert store.spend(charge, SpendRequest(0), BEGIN).left == (4900,)
