"""Failure buckets: who is blocked, for how long, in how much memory."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.abuse import FailureBuckets
from authz.core.failure_budget import MAX_CLIENTS, client_of
from tests.support.fakes import NOW

MINUTE = 60_000
ONE, OTHER = "203.0.113.7", "203.0.113.8"


def made(per_minute=10, block_ms=10 * MINUTE):
    """Return empty buckets."""
    return FailureBuckets(per_minute, block_ms)


def blocked(buckets, address=ONE, now=NOW, times=11):
    """Note failures at one moment. Return which of them were refused."""
    return [buckets.fail(address, now) for _ in range(times)]


def test_the_failure_above_the_budget_blocks():
    """Ten failures in a moment pass, the next ones are blocked for 10 minutes."""
    buckets = made()
    assert blocked(buckets, times=13) == [False] * 10 + [True] * 3
    assert not buckets.fail(OTHER, NOW)
    assert buckets.fail(ONE, NOW + 10 * MINUTE - 1)
    assert not buckets.fail(ONE, NOW + 10 * MINUTE)


def test_a_steady_rate_within_the_budget_passes():
    """Ten failures a minute, for ever."""
    buckets = made()
    assert not any(buckets.fail(ONE, NOW + number * 6_000) for number in range(1_000))


def test_without_a_budget_nobody_is_blocked():
    """0 means any number."""
    assert not any(blocked(made(per_minute=0), times=10_000))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ONE, f"::ffff:{ONE}"),
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff"),
    ],
)
def test_addresses_of_one_client(one, other):
    """A mapped address is that of IPv4; an IPv6 client has a whole /64 network."""
    buckets = made()
    blocked(buckets, one)
    assert buckets.fail(other, NOW)
    assert client_of(one) == client_of(other)


@pytest.mark.parametrize("address", ["", "@unix", "x" * 10_000, "1.2.3.4.5", "2001:db8::zz"])
def test_text_that_is_no_address(address):
    """Clients without an address are never blocked: they would count as one."""
    assert not any(blocked(made(), address, times=1_000))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30_000)), max_size=300))
def test_only_those_over_their_budget(steps):
    """In no minute without a block has a client more than twice its budget of failures."""
    buckets, now, passed = made(), NOW, {}
    for client, wait in steps:
        now += wait
        if not buckets.fail(f"192.0.2.{client}", now):
            passed.setdefault(client, []).append(now)
    for times in passed.values():
        for start in times:
            assert sum(start <= at < start + MINUTE for at in times) <= 20


def test_memory_is_bounded():
    """More clients than are remembered push the oldest ones out."""
    buckets = made(per_minute=1)
    for number in range(3 * MAX_CLIENTS):
        blocked(buckets, f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", times=2)
    found = buckets.unpublished(10 * MAX_CLIENTS)
    assert len(found) == MAX_CLIENTS
    assert buckets.unpublished(10) == {}


def test_the_fleet():
    """A block of another sidecar holds here. If it is cleared there, the client begins anew."""
    buckets = made()
    buckets.replace_fleet({ONE: NOW + MINUTE}, [])
    assert buckets.fail(ONE, NOW)
    assert not buckets.fail(ONE, NOW + MINUTE)
    blocked(buckets, OTHER)
    assert buckets.unpublished(5) == {OTHER: NOW + 10 * MINUTE}
    assert buckets.fail(OTHER, NOW)  # published, and still blocked
    buckets.replace_fleet({}, [])
    assert blocked(buckets, OTHER, times=10) == [False] * 10


def test_an_ended_block_is_forgotten():
    """The client begins anew then, and not before."""
    buckets = made(block_ms=10_000)
    blocked(buckets)
    (until,) = buckets.unpublished(5).values()
    buckets.forget_ended(until - 1)
    assert buckets.fail(ONE, until - 1)
    buckets.forget_ended(until)
    assert not any(buckets.fail(ONE, until) for _ in range(10))


def test_what_could_not_be_published_is_published_later():
    """A block is kept here in the meantime."""
    buckets = made()
    blocked(buckets)
    found = buckets.unpublished(5)
    buckets.put_back(found)
    assert buckets.fail(ONE, NOW)
    assert buckets.unpublished(5) == found


def test_allowed_networks():
    """A client in an allowed network is not blocked, also if it was before."""
    buckets = made()
    blocked(buckets)
    buckets.replace_fleet({OTHER: NOW + MINUTE}, ["203.0.113.0/24"])
    assert not any(blocked(buckets, times=100))
    assert not buckets.fail(OTHER, NOW)


def test_a_text_that_is_no_network():
    """An odd text costs itself alone: blocks of the fleet and other networks are taken."""
    buckets = made()
    odd = ["203.0.113.7/24", "x" * 60_000]
    problem = buckets.replace_fleet({OTHER: NOW + MINUTE}, [*odd, "203.0.113.7"])
    assert "203.0.113.7/24" in problem
    assert len(problem) < 300
    assert buckets.fail(OTHER, NOW)
    assert not any(blocked(buckets, times=100))


def test_more_networks_than_are_allowed():
    """Every sidecar takes the same 100, also between texts that are no networks."""
    many = [f"10.{number:03}.0.0/16" for number in range(100, 200)]
    buckets = made()
    problem = buckets.replace_fleet({"10.199.0.1": NOW + MINUTE}, [*reversed(many), "203.0.113.7"])
    assert "100" in problem
    assert not buckets.fail("10.199.0.1", NOW)
    assert any(blocked(buckets, times=100))
    assert buckets.replace_fleet({}, many) == ""


def test_long_text_is_not_remembered():
    """A client may write 60 KiB where its address is a header: 10,000 of them would fill memory."""
    tracemalloc.start()
    try:
        for number in range(2_000):
            assert client_of(f"{number:060000}") == ""
        assert tracemalloc.get_traced_memory()[0] < 10_000_000
    finally:
        tracemalloc.stop()
