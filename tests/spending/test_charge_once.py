"""Requests that are charged once, on the real scripts: they agree with a plain model."""

import pytest

from authz.core.limits.amounts import Amounts
from authz.core.limits.charge import SpendRequest, charge_for
from authz.core.limits.charge_once import MAX_ATTEMPTS, RetryName
from authz.core.limits.key_limits import LimitGroup, Owner
from authz.core.usage.commit import Budget, Commit, OnceUse, Settlement
from authz.storage.limits.spend_script import SETTLED_WITHIN_MS
from authz.storage.schema import DEFAULT
from tests.spending import settling
from tests.spending import store as timed
from tests.spending.plans import BEGIN, make_terms
from tests.spending.retries import play
from tests.spending.settling import TimedMeter
from tests.spending.store import TimedStore

NAME = RetryName("n" * 22, 60_000)
SPEND_MUTANTS = {
    "a retry is charged again": ("now < (tonumber(known[1]) or 0)", "false"),
    "a name lasts for ever": ("now < (tonumber(known[1]) or 0)", "true"),
    "a name has no bound": ("requests < MAX_ATTEMPTS", "true"),
    "a retry gets what it would take now": (
        "answer = {1, now, attempt, text}",
        "answer = {1, now, attempt, ''}",
    ),
    "a budget without room is settled": ("if taken > 0 and memory", "if memory"),
    "a new count keeps the old use": ("'taken', text, 'used', '')", "'taken', text)"),
}
COMMIT_MUTANTS = {
    "each attempt is settled": ("if before and used <= before then", "if false then"),
    "only the first attempt is settled": ("if before and used <= before then", "if before then"),
    "the estimate is returned twice": ("before and 0 or taken})", "taken})"),
}


def test_random_histories_with_retries(valkey):
    """Requests with names, settlements in any order, lost ones, and time: as the model says."""
    play(valkey.admin, 60)


@pytest.mark.parametrize("change", SPEND_MUTANTS.values(), ids=SPEND_MUTANTS)
def test_the_histories_find_a_script_that_charges_wrong(valkey, monkeypatch, change):
    """Each of these faults differs from the model within some histories."""
    assert timed.SPEND.count(change[0]) == 1
    monkeypatch.setattr(timed, "SPEND", timed.SPEND.replace(*change))
    with pytest.raises(AssertionError):
        play(valkey.admin, 200, steps=80)


@pytest.mark.parametrize("change", COMMIT_MUTANTS.values(), ids=COMMIT_MUTANTS)
def test_the_histories_find_a_script_that_settles_attempts_wrong(valkey, monkeypatch, change):
    """Each fault of the script that settles differs from the model, too."""
    assert settling.COMMIT.count(change[0]) == 1
    monkeypatch.setattr(settling, "COMMIT", settling.COMMIT.replace(*change))
    with pytest.raises(AssertionError):
        play(valkey.admin, 60)


def ask(store, charge, now=BEGIN, once=NAME):
    """One request with a name."""
    return store.spend(charge, SpendRequest(1, once=once), now)


def test_a_retry_passes_although_the_limit_is_used_up(valkey):
    """The limit has no room, and the request was charged: it passes. Another one is refused."""
    store = TimedStore(valkey.admin)
    charge = charge_for(make_terms("1/min"), 1, BEGIN // 1000)
    assert ask(store, charge)[:4] == (1, BEGIN, (0,), (0,))
    retried = ask(store, charge)
    assert (retried.granted, retried.is_repeat, retried.left) == (1, True, (0,))
    assert ask(store, charge, once=RetryName("o" * 22, 60_000)).granted == 0


def test_a_refused_request_is_not_remembered(valkey):
    """A request that found no room is charged when it comes again and finds some."""
    store = TimedStore(valkey.admin)
    charge = charge_for(make_terms("1/min"), 1, BEGIN // 1000)
    ask(store, charge, once=None)
    assert ask(store, charge).granted == 0
    assert not valkey.admin.exists(DEFAULT.once(NAME.id))
    later = ask(store, charge, BEGIN + 61_000_000)
    assert (later.granted, later.is_repeat, later.left) == (1, False, (0,))


def test_a_name_is_good_for_so_many_requests(valkey):
    """A client that gives each request the same name pays for one in MAX_ATTEMPTS (16)."""
    store = TimedStore(valkey.admin)
    charge = charge_for(make_terms("10/min"), 1, BEGIN // 1000)
    replies = [ask(store, charge) for _ in range(3 * MAX_ATTEMPTS)]
    assert [reply.is_repeat for reply in replies].count(False) == 3
    assert replies[-1].left == (7,)


def test_the_memory_ends_by_itself(valkey):
    """The store drops a name after its time, and after that of late usage if it settles budgets."""
    store = TimedStore(valkey.admin, persistent=False)
    memory = DEFAULT.once(NAME.id)
    ask(store, charge_for(make_terms("10/min"), 1, BEGIN // 1000))
    assert 0 < valkey.admin.pttl(memory) <= NAME.within_ms
    valkey.admin.delete(memory)
    ask(store, charge_for(make_terms("9000/month,of=tokens"), Amounts(1, 800), BEGIN // 1000))
    kept = NAME.within_ms + SETTLED_WITHIN_MS
    assert kept - 60_000 < valkey.admin.pttl(memory) <= kept


def test_an_estimate_stays_if_the_memory_is_gone(valkey):
    """A settlement after the name was forgotten returns nothing, because it may be a second one."""
    store, meter = TimedStore(valkey.admin), TimedMeter(valkey.admin)
    charge = charge_for(make_terms("5000/month,of=tokens"), Amounts(1, 800), BEGIN // 1000)
    ask(store, charge)
    valkey.admin.delete(DEFAULT.once(NAME.id))
    (taken,) = charge.taken
    budget = Budget(LimitGroup(Owner.KEY, "k" * 16, ()), taken.ends_ms, taken.counter)
    commit = Commit(once=[(OnceUse(NAME.id, 0), budget, Settlement(10, taken.units))])
    meter.commit(commit, b"one", BEGIN)
    assert store.spend(charge, SpendRequest(0), BEGIN).left == (4200,)


@pytest.mark.parametrize(
    ("until", "requests"),
    [("x", "y"), ("9e99", "-5"), ("9e99", "0"), ("9e99", "nan"), ("9e99", "9e99"), ("nan", "1")],
)
def test_a_garbled_memory_is_charged_anew(valkey, until, requests):
    """A memory that this script did not write counts as none."""
    store = TimedStore(valkey.admin)
    charge = charge_for(make_terms("10/min"), 1, BEGIN // 1000)
    valkey.admin.hset(DEFAULT.once(NAME.id), mapping={"until": until, "requests": requests})
    assert ask(store, charge)[:3] == (1, BEGIN, (9,))
