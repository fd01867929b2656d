"""The leases that spend.lua records. People read them; no decision uses them."""

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz.core.limits.charge import SpendRequest, charge_for
from authz.core.limits.key_limits import KeyLimits, LimitGroup, Owner
from authz.core.limits.limit import OnOutage
from authz.storage import schema
from authz.storage.limits.spend_script import arguments, holder_name, leases
from tests.spending.plans import make_terms
from tests.spending.store import TimedStore
from tests.support.limits import limits
from tests.support.storage import stored

NOW = 1_763_779_999_000_000
TERMS = make_terms("900000/min")  # a lease lives for 599.4 ms
HASH = stored.limit("k" * 16)
LIFE = 600
MAX_BYTES = 4096 + 200


@pytest.fixture
def store(valkey):
    """The script, at the time it is told, by a client that reads bytes."""
    with redis.Redis(port=valkey.port) as client:
        yield TimedStore(client)


def take(store, holder, lease, now, terms=TERMS, **ask):
    """A question of a sidecar for itself and for a lease."""
    asked = SpendRequest(1 + lease, lease, **ask)
    return store.spend(charge_for(terms, 1, now // 1000), asked, now, holder_name(holder))


def fields_of(store, name=HASH):
    """The field, as bytes."""
    return store.client.hget(name, schema.LEASES) or b""


def held(store, now, name=HASH):
    """Return the leases as (holder, requests)."""
    return [(lease.holder, lease.requests) for lease in leases(fields_of(store, name), now // 1000)]


def test_a_lease_is_told_from_what_passed_at_once(store):
    """Of 13 requests one waited: 12 are out until they end, as long as they live."""
    take(store, "one", 12, NOW)

    [lease] = leases(fields_of(store), NOW // 1000)
    assert lease == ("one", 12, 1, NOW // 1000 + LIFE)
    assert len(fields_of(store)) == 19 + len("one")
    assert held(store, NOW + (LIFE - 1) * 1000) == [("one", 12)]
    assert held(store, NOW + LIFE * 1000) == []


def test_who_asks_again_has_the_new_lease_only(store):
    """A sidecar that returns a lease has its new one instead; all others stay."""
    first = take(store, "one", 12, NOW)
    take(store, "two", 20, NOW + 1000)
    take(store, "one", 5, NOW + 2000)
    take(store, "one", 30, NOW + 3000, returned=2, granted_at=first.now_us)

    assert held(store, NOW + 3000) == [("two", 20), ("one", 5), ("one", 30)]


def test_what_is_given_back_is_out_no_more(store):
    """Returned requests leave the lease, also if nothing new is asked for."""
    receipt = take(store, "one", 12, NOW)
    given = charge_for(TERMS, 1, NOW // 1000)
    store.spend(given, SpendRequest(0, returned=12, granted_at=receipt.now_us), NOW + 1000, b"one")

    assert fields_of(store) == b""


def test_what_was_not_granted_is_not_out(store):
    """A lease is what there was room for, beside those who waited; a refusal writes nothing."""
    terms = make_terms("300/min")
    first = charge_for(terms, 1, NOW // 1000)
    store.spend(first, SpendRequest(290), NOW)
    take(store, "one", 30, NOW + 1000, terms=terms)
    assert held(store, NOW + 1000) == [("one", 9)]

    before = store.client.hgetall(HASH)
    assert take(store, "two", 30, NOW + 2000, terms=terms).granted == 0
    assert store.client.hgetall(HASH) == before


def test_each_account_knows(store):
    """A lease is recorded in each group, so a pool lists the leases of all its keys."""
    accounts = (
        LimitGroup(Owner.KEY, "k" * 16, limits("900000/min")),
        LimitGroup(Owner.PROJECT, "shop", limits("800000/min")),
        LimitGroup(Owner.TENANT, "acme", limits("90000000/d")),
    )
    other = LimitGroup(Owner.KEY, "o" * 16, limits("900000/min"))
    take(store, "one", 12, NOW, terms=KeyLimits(accounts, OnOutage.LOCAL))
    take(store, "one", 7, NOW + 1, terms=KeyLimits((other, accounts[1]), OnOutage.LOCAL))

    assert held(store, NOW + 1) == [("one", 12)]
    assert held(store, NOW + 1, stored.limit("project:shop")) == [("one", 12), ("one", 7)]
    assert held(store, NOW + 1, stored.limit("tenant:acme")) == [("one", 12)]
    assert held(store, NOW + 1, stored.limit("o" * 16)) == [("one", 7)]


def test_a_hash_of_an_older_version_gets_the_field(store):
    """A hash with counters and without leases gets the field, and loses nothing."""
    take(store, "one", 12, NOW)
    store.client.hdel(HASH, schema.LEASES)

    assert take(store, "two", 10, NOW + 1000).left == (900_000 - 13 - 11,)
    assert held(store, NOW + 1000) == [("two", 10)]


@pytest.mark.parametrize("garbage", [b"", b"x", b"rubbish" * 40, b"\xff" * 700, b"\0" * 64])
def test_garbage_is_replaced(store, garbage):
    """Garbage in the field of leases is replaced, because no decision uses it."""
    take(store, "one", 12, NOW)
    store.client.hset(HASH, schema.LEASES, garbage)
    assert held(store, NOW) == []

    assert take(store, "two", 10, NOW + 1000).granted == 11
    assert held(store, NOW + 1000) == [("two", 10)]


def test_it_is_bounded(store):
    """A thousand sidecars: the newest are kept, and one whose clock went back is dropped."""
    for number in range(300):
        take(store, f"node-{number}", 10, NOW + number)
    names = [name for name, _ in held(store, NOW + 300)]

    assert names[-1] == "node-299"
    assert names == [f"node-{number}" for number in range(300 - len(names), 300)]
    assert len(names) > 100
    assert len(fields_of(store)) < MAX_BYTES
    take(store, "late", 10, NOW - 3600 * 10**6)
    assert [name for name, _ in held(store, NOW - 3600 * 10**6)] == ["late"]


@pytest.mark.parametrize("name", ["node-1-ab12cd", "n\u00f6de\n1", "x" * 300, "a b", "\0"])
def test_a_name_is_bounded_and_printable(store, name):
    """A holder's name is cut, and characters that are not printable ASCII become `?`."""
    take(store, name, 10, NOW)
    found = [holder for holder, _ in held(store, NOW)]

    assert found == [("".join(c if "!" <= c <= "~" else "?" for c in name))[:100]]


SIDECARS = ("one", "another-with-a-longer-name")
STEPS = st.lists(
    st.tuples(st.sampled_from(SIDECARS), st.integers(0, 20), st.integers(0, 400_000)), max_size=30
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_it_is_what_each_was_granted_last(store, steps):
    """A model: one lease of each sidecar, gone when it ends or is given back."""
    model, now = {}, NOW
    store.client.delete(HASH)
    last = dict.fromkeys(SIDECARS, 0)
    for holder, lease, step in steps:
        now += step + 1
        back = 1 if last[holder] else 0
        receipt = take(store, holder, lease, now, returned=back, granted_at=last[holder])
        if lease or back:
            model.pop(holder, None)
        if lease:
            model[holder] = (lease, now // 1000 + LIFE)
        last[holder] = receipt.now_us

    alive = [(name, size) for name, (size, until) in model.items() if now // 1000 < until]
    assert sorted(held(store, now)) == sorted(alive)


def test_who_takes_no_lease_sends_no_name():
    """A request without a lease sends no holder's name."""
    asked = charge_for(TERMS, 1, NOW // 1000)
    assert b"one" not in b"".join(
        word if isinstance(word, bytes) else word.encode()
        for word in arguments(asked, SpendRequest(1), b"one")
    )
