"""Checker: what is decided, what it costs, and that each decision is counted once."""

import asyncio
import inspect
from dataclasses import replace

import pytest

from authz.core.decision import Allow, Deny, Reason
from authz.core.errors import Conflict, Unavailable, Unreadable
from authz.core.records import Secret, Status
from authz.core.request import Route
from tests.support.fakes import NOW, make_keyring, make_request
from tests.support.flows.rigs import CheckRig

OPTIONAL = Route(optional=True)


@pytest.fixture
def rig():
    """A checker whose cache is empty."""
    return CheckRig()


@pytest.fixture
async def warm(rig):
    """A checker whose cache holds the issued key."""
    await rig.warm()
    return rig


# without a key


@pytest.mark.parametrize(
    ("route", "expected"),
    [(Route(), Deny(Reason.MISSING_CREDENTIAL)), (OPTIONAL, Allow(None))],
)
def test_no_credential(rig, route, expected):
    """No key is an anonymous allow where the route says so, and a refusal elsewhere."""
    assert rig.checker.check(make_request(route=route)) == expected
    assert rig.probe.decisions == [getattr(expected, "reason", None)]


@pytest.mark.parametrize("route", [Route(), OPTIONAL])
@pytest.mark.parametrize("reason", [Reason.AMBIGUOUS_CREDENTIAL, Reason.BAD_REQUEST])
def test_a_refusal_that_reading_led_to(rig, route, reason):
    """A request without exactly one credential is refused, on an optional route too."""
    refusal = Deny(reason)

    assert rig.checker.check(make_request(credential=refusal, route=route)) is refusal
    assert rig.probe.decisions == [reason]


# hits


def test_a_hit_is_decided_at_once(warm):
    """A decision about a cached record is a decision, not a promise of one."""
    decision = warm.checker.check(warm.request(warm.text))

    assert decision == Allow(warm.record)
    assert not inspect.isawaitable(decision)
    assert warm.source.loads == {}
    assert warm.probe.decisions == [None]


async def test_authority_is_judged_on_every_hit(rig):
    """The record is cached, what it permits is not: expiry is exact on a hit too."""
    rig.source.records[rig.record.kid] = replace(rig.record, expires_at=NOW + 1000)
    await rig.decide(rig.request(rig.text))

    rig.clock.jump_wall(999)
    assert isinstance(rig.checker.check(rig.request(rig.text)), Allow)
    rig.clock.jump_wall(1)
    assert rig.checker.check(rig.request(rig.text)).reason is Reason.EXPIRED
    assert rig.source.loads == {rig.record.kid: 1}


@pytest.mark.parametrize("vouched", [True, False])
def test_a_wrong_secret_of_a_cached_key(warm, vouched):
    """A genuine key that the record does not hold is a wrong secret, whatever is vouched for."""
    warm.peppers.versions = {"1"} if vouched else set()

    decision = warm.checker.check(warm.request(warm.sibling()))

    assert decision == Deny(Reason.WRONG_SECRET)
    assert warm.probe.decisions == [Reason.WRONG_SECRET]


def test_a_refusal_with_the_right_secret_says_so(warm):
    """A refusal after the right secret names the reason and the key."""
    decision = warm.checker.check(warm.request(warm.text, route=Route(scopes=frozenset({"a"}))))

    assert decision == Deny(Reason.INSUFFICIENT_SCOPE, warm.record)
    assert warm.probe.decisions == [Reason.INSUFFICIENT_SCOPE]


# what cannot be a key of ours, in the cache or not


@pytest.fixture(params=["cold", "warm"])
async def either(request, rig):
    """A checker whose cache is empty, and one whose cache holds the key."""
    if request.param == "warm":
        await rig.warm()
    return rig


def test_a_damaged_key(either):
    """A key with a typing error is malformed, at no cost."""
    damaged = either.text[:-7] + ("0" if either.text[-7] != "0" else "1") + either.text[-6:]

    assert either.checker.check(either.request(damaged)) == Deny(Reason.MALFORMED)
    assert either.source.loads == {}
    assert either.probe.decisions == [Reason.MALFORMED]


@pytest.mark.parametrize(
    ("vouched", "expected"), [({"1"}, Reason.FORGED), (set(), Reason.UNAVAILABLE)]
)
def test_a_forged_key(either, vouched, expected):
    """A tag that fails is a forgery once the store vouched for our pepper; until then who knows."""
    either.peppers.versions = vouched

    assert either.checker.check(either.request(either.forge())) == Deny(expected)
    assert either.source.loads == {}
    assert either.probe.decisions == [expected]


@pytest.mark.parametrize(
    ("vouched", "expected"), [({"1", "2"}, Reason.FORGED), ({"1"}, Reason.UNAVAILABLE)]
)
def test_a_key_of_an_unknown_pepper(either, vouched, expected):
    """A pepper that only the store knows may have made it; one that nobody knows has not."""
    either.peppers.versions = vouched
    other = make_keyring("ak", "2").mint("live", either.record.kid).text

    assert either.checker.check(either.request(other)) == Deny(expected)
    assert either.source.loads == {}
    assert either.probe.decisions == [expected]


async def test_a_thousand_forgeries_cost_no_load(rig):
    """A thousand forged keys cause no load from the store."""
    for i in range(1000):
        forged = rig.forge(f"ak_live_{i:016}_" + rig.text[25:])
        assert rig.checker.check(rig.request(forged)) == Deny(Reason.FORGED)

    assert rig.source.loads == {}


# misses


async def test_a_miss_waits_for_the_record(rig):
    """A genuine key that is not cached costs one load."""
    waiting = rig.checker.check(rig.request(rig.text))

    assert inspect.isawaitable(waiting)
    task = asyncio.ensure_future(waiting)
    await asyncio.sleep(0)
    assert rig.source.loads == {rig.record.kid: 1}
    assert rig.probe.decisions == []
    rig.source.answer_all()
    assert await task == Allow(rig.record)
    assert rig.probe.decisions == [None]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"status": Status.REVOKED}, Reason.REVOKED),
        ({"expires_at": NOW}, Reason.EXPIRED),
        ({"secrets": (Secret("1", bytes(32), "1", NOW),)}, Reason.WRONG_SECRET),
    ],
)
async def test_a_loaded_record_is_judged(rig, change, expected):
    """A record that was just loaded is judged like one from the cache."""
    rig.source.records[rig.record.kid] = replace(rig.record, **change)

    decision = await rig.decide(rig.request(rig.text))

    assert decision.reason is expected
    assert rig.probe.decisions == [expected]


async def test_the_time_is_read_when_the_record_is_there(rig):
    """A key that expires while its record is on the way is expired."""
    rig.source.records[rig.record.kid] = replace(rig.record, expires_at=NOW + 1000)
    task = asyncio.ensure_future(rig.checker.check(rig.request(rig.text)))
    await asyncio.sleep(0)

    rig.clock.advance(1)
    rig.source.answer_all()

    assert (await task).reason is Reason.EXPIRED


async def test_an_unknown_key(rig):
    """A genuine key without a record is unknown, at the cost of one load for a while."""
    del rig.source.records[rig.record.kid]

    for _ in range(3):
        assert await rig.decide(rig.request(rig.text)) == Deny(Reason.UNKNOWN_KEY)

    assert rig.source.loads == {rig.record.kid: 1}
    assert rig.probe.decisions == [Reason.UNKNOWN_KEY] * 3


@pytest.mark.parametrize(
    "fault", [Unavailable("link lost"), Unreadable("garbled"), Conflict("what is this?")]
)
async def test_a_fault_is_unavailable(rig, fault):
    """Every fault of the source makes the decision UNAVAILABLE."""
    rig.source.records[rig.record.kid] = fault

    assert await rig.decide(rig.request(rig.text)) == Deny(Reason.UNAVAILABLE)
    assert rig.probe.decisions == [Reason.UNAVAILABLE]


async def test_without_trust_a_cached_key_is_unavailable(warm):
    """Without trust a cached key is UNAVAILABLE, and nothing is loaded."""
    warm.cache.trust(0.0)

    assert await warm.decide(warm.request(warm.text)) == Deny(Reason.UNAVAILABLE)
    assert warm.source.loads == {}
    assert warm.probe.decisions == [Reason.UNAVAILABLE]


async def test_a_caller_that_left_is_not_counted(rig):
    """Nothing was decided for a request that was cancelled."""
    task = asyncio.ensure_future(rig.checker.check(rig.request(rig.text)))
    await asyncio.sleep(0)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    rig.source.answer_all()

    assert rig.probe.decisions == []
