"""Limiter, with requests that are charged once."""

import asyncio

from authz.core.errors import Unavailable
from authz.core.events import Event
from authz.core.limits.charge_once import RetryName
from authz.core.limits.limit import OnOutage
from tests.support.flows.limiter_rig import NOW, Rig

NAME, OTHER = RetryName("n" * 22, 60_000), RetryName("o" * 22, 60_000)


async def test_each_asks_the_store_for_itself():
    """A named request takes from no lease and waits for no others, and a lease stays as it is."""
    rig = Rig("6000/s")
    rig.lease(60)
    named = [rig.spend(once=NAME), rig.spend(once=OTHER)]
    assert [asked[1] for asked in rig.store.asked] == [1, 1]
    assert rig.store.names[-2:] == [NAME, OTHER]
    rig.store.answer(1)
    rig.store.answer(1, is_repeat=True)
    first, second = (waiter.result() for waiter in named)
    assert (first.allowed, first.is_repeat) == (True, False)
    assert (second.allowed, second.is_repeat) == (True, True)
    assert rig.probe.events[Event.LIMIT_ALLOWED_BEFORE] == 1
    assert not isinstance(rig.spend(), asyncio.Future)  # the lease is still there


async def test_a_named_request_whose_client_has_gone_begins_no_lease():
    """Its unit stays charged to its name, so that the retry is free."""
    rig = Rig("6000/s")
    rig.spend(once=NAME).cancel()
    rig.store.answer(1)
    assert isinstance(rig.spend(), asyncio.Future)


async def test_after_a_refusal_one_at_a_time_asks_whether_it_is_a_retry():
    """A retry passes though the limit is used up; a flood of names does not reach the store."""
    rig = Rig("10/s")
    rig.spend()
    rig.store.answer(0, 500_000)
    retried = rig.spend(once=NAME)
    assert not rig.spend(once=OTHER).allowed  # refused here
    assert len(rig.store.asked) == 1
    rig.store.answer(1, left=(0,), is_repeat=True)
    assert retried.result().allowed
    rig.spend(once=OTHER)
    assert len(rig.store.asked) == 1
    rig.store.fail(Unavailable("gone"))
    rig.spend(once=OTHER)
    assert len(rig.store.asked) == 1
    assert not rig.spend().allowed


async def test_a_new_day_is_asked_again_with_the_name():
    """The name stays with the request if the store is in another calendar period."""
    rig = Rig("9000/calendar-day")
    named = rig.spend(once=NAME)
    charge, *_ = rig.store.asked[0]
    rig.store.answer(-1, now=NOW + 86_400_000)
    assert rig.store.names == [NAME, NAME]
    assert rig.store.asked[0][0].begins == charge.ends
    rig.store.answer(1)
    assert named.result().allowed
    assert isinstance(rig.spend(), asyncio.Future)


async def test_without_the_store_each_attempt_counts():
    """During an outage a retry is told by nobody: the limits of this sidecar count each attempt."""
    rig = Rig("1/min")
    rig.store.is_open = False
    assert rig.spend(once=NAME).allowed
    assert not rig.spend(once=NAME).allowed


async def test_a_limit_that_is_used_up_refuses_named_requests_of_an_outage():
    """During an outage a name does not pass where a request without one is refused."""
    rig = Rig("10/h", on_outage=OnOutage.ALLOW)
    rig.spend()
    rig.store.answer(0, 3_000_000_000)
    rig.store.is_open = False
    assert not rig.spend().allowed
    assert not rig.spend(once=NAME).allowed


async def test_a_lease_serves_named_requests_of_an_outage():
    """Its units are counted already, so they need no `on_outage`."""
    rig = Rig("6000/s", on_outage=OnOutage.DENY)
    rig.lease(60)
    rig.store.is_open = False
    assert rig.spend(once=NAME).allowed


async def test_a_key_without_limits():
    """A named request of a key without limits asks nothing."""
    assert Rig().spend(once=NAME) is None
