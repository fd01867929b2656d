"""spend.lua where the reference model does not go: garbled fields, clocks that go back, expiry."""

import re
import struct

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz.core.limits.charge import SpendReply, SpendRequest, charge_for
from tests.spending.history import fullest
from tests.spending.plans import make_terms
from tests.spending.store import TimedStore
from tests.support.storage import stored

NOW = 1_763_779_999_000_000
SECOND = 10**6
HASH = stored.limit("k" * 16)


@pytest.fixture
def dump(valkey):
    """The stored hash as bytes."""
    client = redis.Redis(port=valkey.port)
    yield lambda: client.dump(HASH)
    client.close()


@pytest.fixture
def store(valkey):
    """The script, at the time it is told."""
    return TimedStore(valkey.admin)


def spend(store, terms, wanted=1, now=NOW):
    """One question at `now`."""
    return store.spend(charge_for(terms, 1, now // 1000), SpendRequest(wanted), now)


def test_all_of_it_at_once_and_then_nothing_for_the_whole_window(store):
    """10/s: ten at once pass, the eleventh a hundred buckets later and not a moment sooner."""
    terms = make_terms("10/s")

    assert spend(store, terms, wanted=10).granted == 10
    refused = spend(store, terms)
    assert refused.granted == 0
    assert refused.waits_us == (1_010_000,)
    assert spend(store, terms, now=NOW + 1_009_999).granted == 0
    assert spend(store, terms, now=NOW + 1_010_000).granted == 1


def test_a_refused_request_takes_nothing(store, dump):
    """A limit with room loses none of it to a request that another limit refuses."""
    terms = make_terms("1/s", "100/min")
    spend(store, terms)
    before = dump()

    refused = spend(store, terms)
    assert refused.granted == 0
    assert refused.left == (0, 99)
    assert dump() == before


def test_debts_without_end_are_counted_to_a_bound_and_exactly(store):
    """Debts count up to 10**12 units, where doubles are still exact."""
    terms = make_terms("100/month")
    wanted = charge_for(terms, 1, NOW // 1000)

    for owed in (2**53, 2**53, 1):
        assert store.spend(wanted, SpendRequest(0, 0, -owed, 0), NOW).left == (0,)

    assert store.spend(wanted, SpendRequest(0, 0, 10**12 - 100, NOW), NOW).left == (0,)
    assert store.spend(wanted, SpendRequest(0, 0, 1, NOW), NOW).left == (1,)


@pytest.mark.parametrize("cost", [1, 2])
def test_units_that_have_drained_do_not_come_back(store, cost):
    """A bucket that has drained and is full again gives no room for units of a minute ago."""
    charge = charge_for(make_terms("10/min,burst=12"), cost, NOW // 1000)
    others = charge_for(charge.key_limits, 1, NOW // 1000)
    kept = 12 // cost

    assert store.spend(charge, SpendRequest(kept), NOW).granted == kept
    later = NOW + 72 * SECOND
    assert store.spend(others, SpendRequest(12), later).granted == 12
    assert store.spend(charge, SpendRequest(12, 0, kept, NOW), later).granted == 0
    assert store.spend(others, SpendRequest(1), later).waits_us == (6 * SECOND,)


def test_units_that_cannot_have_drained_come_back(store):
    """Of 10 units 3 drain in 18 s, so 7 come back, and all 10 at once or if the clock went back."""
    charge = charge_for(make_terms("10/min,burst=20"), 1, NOW // 1000)

    assert store.spend(charge, SpendRequest(10), NOW).left == (10,)
    assert store.spend(charge, SpendRequest(10, 0, 10, NOW), NOW).left == (10,)
    assert store.spend(charge, SpendRequest(10, 0, 10, NOW), NOW - SECOND).left == (10,)
    assert store.spend(charge, SpendRequest(10), NOW).left == (0,)
    assert store.spend(charge, SpendRequest(0, 0, 10, NOW), NOW + 18 * SECOND).left == (10,)


def test_a_limit_that_only_says_so_refuses_nothing(store):
    """A limit that does not enforce marks a violation, and the request takes nothing from it."""
    terms = make_terms("2/s,enforce=false", "other=5/s")

    assert spend(store, terms, wanted=2).waits_us == (0, 0)
    third = spend(store, terms)
    assert third.granted == 1
    assert third.waits_us == (1_010_000, 0)
    assert third.left == (0, 2)


def test_looking_changes_nothing(store, valkey):
    """Asking for no requests shows the state and writes nothing."""
    terms = make_terms("10/s", "100/month")

    assert spend(store, terms, wanted=0).left == (10, 100)
    assert not valkey.admin.exists(HASH)


def test_periods_that_are_not_those_of_now_are_sent_back(store, valkey):
    """The sidecar's clock is a day behind the store's: nothing is done, and it learns the time."""
    terms = make_terms("10/s", "100/calendar-day")
    yesterday = charge_for(terms, 1, NOW // 1000 - 86_400_000)

    receipt = store.spend(yesterday, SpendRequest(1, returned=-5), NOW)
    assert receipt == SpendReply(-1, NOW, (), ())
    assert not valkey.admin.exists(HASH)


GARBAGE = [
    ("second s unit", b"rubbish"),
    ("second s unit", b""),
    ("second s unit", b"\x02" + b"\x00" * 18),
    (
        "second s unit",
        struct.pack(">B", 1) + bytes.fromhex("000000000001 000000000009 000000000003"),
    ),
    ("month month unit UTC", b"12"),
    ("minute min unit burst", b"x" * 16),
    ("minute min unit burst", struct.pack(">B", 3) + b"\0" * 7 + struct.pack(">d", float("nan"))),
]


@pytest.mark.parametrize(("field", "value"), GARBAGE)
def test_a_garbled_field_is_an_error_and_stays_as_it_is(store, valkey, dump, field, value):
    """A garbled field is an error that names hash and field, and nothing is overwritten."""
    terms = make_terms("10/s", "100/min,burst=5", "1000/month")
    spend(store, terms)
    valkey.admin.hset(HASH, field, value)
    before = dump()

    with pytest.raises(redis.ResponseError, match=re.escape(f"GARBLED {HASH} {field}")):
        spend(store, terms, now=NOW + SECOND)
    assert dump() == before


@pytest.mark.parametrize("value", [b"12345", b"\0" * 14])
def test_older_buckets_that_do_not_add_up_are_an_error(store, valkey, value):
    """The sum of the buckets is known from the state."""
    terms = make_terms("10/s")
    spend(store, terms)
    spend(store, terms, now=NOW + 100_000)
    valkey.admin.hset(HASH, "second s unit older", value)

    with pytest.raises(redis.ResponseError, match=r"^GARBLED"):
        spend(store, terms, now=NOW + 200_000)


def test_an_account_that_is_no_hash_is_an_error(store, valkey):
    """A key that is no hash is an error before anything is written."""
    valkey.admin.set(HASH, "text")

    with pytest.raises(redis.ResponseError, match=r"^WRONGTYPE"):
        spend(store, make_terms("10/s"))


def test_a_hash_ends_with_the_longest_of_its_limits(valkey):
    """A hash lives as long as a counter counts; a shorter limit never shortens its life."""
    store = TimedStore(valkey.admin, persistent=False)
    spend(store, make_terms("10/s", "100/d"))
    day = valkey.admin.pttl(HASH)
    assert day == pytest.approx(86_400_000 * 1.01, rel=0.01)

    spend(store, make_terms("10/s"), now=NOW + 5 * SECOND)
    assert valkey.admin.pttl(HASH) > day - 60_000


def test_an_emptied_bucket_keeps_the_counters_of_other_limits(valkey):
    """A bucket that is empty again has no life of its own, but its hash has other counters."""
    store = TimedStore(valkey.admin, persistent=False)
    spend(store, make_terms("100/d"), wanted=5)
    bucket = charge_for(make_terms("5/s,burst=9"), 1, NOW // 1000)
    granted = store.spend(bucket, SpendRequest(1), NOW)
    assert store.spend(bucket, SpendRequest(0, 0, 1, granted.now_us), NOW).left == (9,)

    assert spend(store, make_terms("100/d"), wanted=0).left == (95,)


def test_a_clock_that_goes_back_a_little_gives_nothing_away(store):
    """If the clock goes back within a window, past requests count until it is there again."""
    terms = make_terms("10/s")
    assert spend(store, terms, wanted=10).granted == 10

    back = spend(store, terms, now=NOW - SECOND // 2)
    assert back.granted == 0
    assert back.waits_us == (SECOND // 2 + 1_010_000,)
    assert spend(store, terms, now=NOW + 1_010_000).granted == 1


def test_a_clock_that_goes_back_a_lot_keeps_nobody_waiting(store):
    """If the clock goes back by an hour, past requests count as if they had just passed."""
    terms = make_terms("10/s", "100/month")
    spend(store, terms, wanted=4, now=NOW - SECOND // 2)
    spend(store, terms, wanted=6)
    hour_ago = NOW - 3600 * SECOND

    refused = spend(store, terms, now=hour_ago)
    assert refused.granted == 0
    assert 0 < refused.waits_us[0] <= 1_020_000
    assert spend(store, terms, now=hour_ago + refused.waits_us[0] - 1).granted == 0
    assert spend(store, terms, now=hour_ago + refused.waits_us[0]).granted == 1


def test_a_month_that_the_clock_goes_back_from_counts_on(store):
    """Use of the next month is kept if the clock goes back over its start."""
    terms = make_terms("10/month")
    december = 1_764_547_200_000_000
    assert spend(store, terms, wanted=10, now=december).granted == 10

    november = spend(store, terms, now=december - 1000)
    assert november.granted == 0
    assert november.waits_us == (1_767_225_600_000_000 - december + 1000,)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(
            st.integers(0, 300_000)
            | st.integers(-900_000, -1)
            | st.integers(-5 * SECOND, -1)
            | st.just(-3600 * SECOND),
            st.integers(1, 12),
        ),
        max_size=60,
    )
)
def test_whatever_the_clock_does_no_stretch_of_time_holds_more(valkey, steps):
    """Time is what has gone by, as far as the clock shows it: when it goes back, none has."""
    store, terms = TimedStore(valkey.admin), make_terms("10/s")
    valkey.admin.delete(HASH)
    now, gone_by, passed = NOW, 0, []
    for step, wanted in steps:
        now, gone_by = now + step, gone_by + max(0, step)
        receipt = spend(store, terms, wanted, now)
        assert all(wait >= 0 for wait in receipt.waits_us)
        assert all(wait <= 2_040_000 for wait in receipt.waits_us)
        passed += [(gone_by, gone_by)] * receipt.granted

    assert fullest(passed, SECOND) <= 10


def test_credits_never_come_back(valkey):
    """Credits are used up for good, and their counter lives for more than a century."""
    store, terms = TimedStore(valkey.admin, persistent=False), make_terms("3/once", "10/s")
    assert spend(store, terms, wanted=5).granted == 3
    for later in (1, 86_400 * 400, 86_400 * 365 * 100):
        refused = spend(store, terms, now=NOW + later * SECOND)
        assert (refused.granted, refused.left[0], refused.waits_us[0]) == (0, 0, -1)
    assert valkey.admin.pttl(HASH) > 100 * 365 * 86_400_000

    refilled = make_terms("5/once", "10/s")
    later = NOW + 86_400 * 365 * 100 * SECOND
    assert spend(store, refilled, wanted=9, now=later).granted == 2
    assert spend(store, make_terms("1/once"), now=later).left == (0,)


def test_credits_begin_after_shorter_limits(valkey):
    """The hash of a key that gets credits later lives as long as they do."""
    store = TimedStore(valkey.admin, persistent=False)
    spend(store, make_terms("10/s"))
    assert valkey.admin.pttl(HASH) < 2000
    spend(store, make_terms("10/s", "5/once"))
    assert valkey.admin.pttl(HASH) > 100 * 365 * 86_400_000
