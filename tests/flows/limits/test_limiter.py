"""Limiter, with a store that answers when it is told to."""

import asyncio

import pytest

from authz.core.decision import Charged, OverLimit, Reason, StaleCharged
from authz.core.errors import OutcomeUnknown, Unavailable, Unreadable
from authz.core.events import Event
from authz.core.limits.key_limits import LimitPolicy
from authz.core.limits.limit import OnOutage, parse_limits
from authz.flows.check import Checker
from authz.flows.limits.limiter import Limiter
from tests.support.fakes import make_record
from tests.support.flows.limiter_rig import NOW, MemorySpendStore, Rig
from tests.support.flows.rigs import CheckRig


async def test_a_key_without_limits_asks_nothing():
    """A key without limits, and a request of cost 0, take nothing and ask nothing."""
    rig = Rig()
    assert rig.spend() is None
    assert Rig("10/s").spend(cost=0) is None
    assert rig.store.asked == []
    assert not rig.probe.events


async def test_pools_that_the_key_is_not_in_ask_nothing():
    """A project without limits of its own is not in anybody's pool."""
    policy = LimitPolicy(projects={"search": parse_limits("limits", ("10/s",))})
    rig = Rig(project_id="maps", policy=policy)
    assert rig.spend() is None
    assert rig.spend() is None
    other = make_record(kid="o" * 16, project_id="search")
    assert isinstance(rig.spend(record=other), asyncio.Future)


async def test_a_plan_that_nobody_knows_is_a_fault():
    """A key of an unknown plan raises UnknownPlan."""
    with pytest.raises(Unavailable, match="no plan gold"):
        Rig(plan="gold").spend()


async def test_small_limits_ask_for_every_request():
    """Requests of a small limit ask the store one by one, in parallel."""
    rig = Rig("10/s")
    waiting = [rig.spend(), rig.spend()]
    assert [asked[1] for asked in rig.store.asked] == [1, 1]

    rig.store.answer(1, left=(9,))
    rig.store.answer(1, left=(8,))
    assert [waiter.result().remaining for waiter in waiting] == [(9,), (8,)]
    assert rig.probe.events[Event.LIMIT_ALLOWED_BY_STORE] == 2


async def test_after_a_refusal_nothing_is_asked_until_it_would_pass():
    """After a refusal the reported wait becomes shorter and never negative."""
    rig = Rig("10/s")
    refused = rig.spend()
    rig.store.answer(0, 500_000)
    assert refused.result().retry_after_ms == 500

    rig.clock.advance(0.2)
    assert rig.spend().retry_after_ms == 300
    rig.clock.advance(0.2999)
    assert rig.spend().retry_after_ms == 1
    assert not rig.spend().allowed
    assert rig.store.asked == []
    assert rig.probe.events[Event.LIMIT_DENIED_LOCALLY] == 3

    rig.clock.advance(0.0002)
    rig.spend()
    assert len(rig.store.asked) == 1


async def test_a_grant_that_was_under_way_does_not_undo_a_refusal():
    """Local refusals use the last refusal, also if a grant arrives after it."""
    rig = Rig("10/s")
    waiting = [rig.spend(), rig.spend()]
    rig.store.answer(0, 500_000)
    rig.store.answer(1)

    assert [waiter.result().allowed for waiter in waiting] == [False, True]
    assert not rig.spend().allowed


async def test_a_change_of_the_key_ends_a_refusal():
    """The limits may be others; the same record read again is no change."""
    rig = Rig("10/s")
    rig.spend()
    rig.store.answer(0, 500_000)
    again = make_record(limits=rig.record.limits)
    assert not rig.spend(record=again).allowed

    rig.spend(record=make_record(limits=rig.record.limits, version=2))
    assert len(rig.store.asked) == 1


async def test_what_costs_more_than_the_limit_is_never_asked_again():
    """A request that costs more than the limit is refused without a time to retry."""
    rig = Rig("3/s")
    waiting = rig.spend(cost=5)
    rig.store.answer(0, -1)
    assert waiting.result().retry_after_ms is None

    rig.clock.advance(1e6)
    assert rig.spend(cost=5).retry_after_ms is None
    assert isinstance(rig.spend(cost=1), asyncio.Future)


async def test_demand_makes_leases():
    """Many at once: one question for those who wait and a lease; then nothing is asked."""
    rig = Rig("3000/s")
    waiters = rig.lease(12)

    assert all(waiter.result().allowed for waiter in waiters)
    assert rig.store.leases == [0, 0, 12]  # beside those who waited
    told = rig.spend()
    assert told.allowed
    assert rig.spend() is told
    assert rig.store.asked == []
    assert rig.probe.events[Event.LEASE_TAKEN] == 1


async def test_a_client_that_waits_for_each_answer_has_leases_too():
    """One request a millisecond, each after the last: ten come in the life of a lease."""
    rig = Rig("10000/s")
    asked = 0
    for _ in range(300):
        waiting = rig.spend()
        if asyncio.isfuture(waiting):
            asked += 1
            rig.store.answer(rig.store.asked[0][1])
            assert waiting.result().allowed
        rig.clock.advance(0.001)

    assert asked < 60
    assert max(rig.store.leases) <= 11

    rig.clock.advance(10)
    rig.spend()
    assert rig.store.asked[0][1] == 1  # it has been quiet


async def test_a_lease_lives_for_a_bucket_from_the_question():
    """10 ms for a limit a second; what is left of it goes back with the next question."""
    rig = Rig("3000/s")
    rig.lease(12)
    left = 0
    while not isinstance(spent := rig.spend(), asyncio.Future):
        assert spent.allowed
        left += 1
        if left == 2:
            rig.clock.advance(0.00998)
            assert rig.spend().allowed
            rig.clock.advance(0.00002)
    _, _, back, granted_at, _ = rig.store.asked[0]
    assert back > 0
    assert granted_at == NOW * 1000
    assert rig.probe.events[Event.LIMIT_ALLOWED_ON_LEASE] == 3


async def test_those_who_waited_pass_however_late_the_answer_comes():
    """Requests that waited are admitted on a late reply; later ones need a valid lease."""
    rig = Rig("3000/s")
    rig.spend()
    rig.store.answer(1)
    first = rig.spend()
    later = rig.spend()
    rig.clock.advance(1.0)
    rig.store.answer(2)

    assert first.result().allowed
    assert not later.done()
    assert [asked[1:3] for asked in rig.store.asked] == [(1, 1)]


async def test_one_lease_is_asked_for_at_a_time():
    """Requests wait while a lease is asked for, and a refusal refuses them all."""
    rig = Rig("3000/s")
    waiting = [rig.spend() for _ in range(5)]
    assert len(rig.store.asked) == 1

    rig.store.answer(0, 700_000)
    assert [waiter.result().retry_after_ms for waiter in waiting] == [700] * 5
    assert rig.store.asked == []


async def test_no_lease_is_larger_than_a_hundredth():
    """A lease is at most a hundredth of the limit and at most the demand, and at least 3."""
    rig = Rig("600/s")
    rig.lease(30)
    assert rig.probe.events[Event.LIMIT_ALLOWED_BY_STORE] == 31

    small = Rig("3000/s")
    small.spend()
    small.store.answer(1)
    small.clock.advance(0.010)
    small.spend()
    assert small.store.asked[0][1] == 1


async def test_leases_become_smaller_towards_the_end_of_a_period():
    """Leases shrink towards the end of a calendar quota."""
    rig = Rig("3000/s", "100000/month")
    waiters = []
    for left, most in ((50_000, 30), (1000, 10), (200, 0)):
        rig.spend()
        rig.store.answer(1, left=(3000, left))
        waiters = [rig.spend() for _ in range(40)]
        rig.store.answer(1, left=(3000, left))
        assert rig.store.asked[0][1] == 39 + most
        rig.store.answer(39, left=(3000, left))
    assert all(waiter.result().allowed for waiter in waiters)


async def test_limits_with_a_burst_are_not_leased():
    """A limit with a burst is not leased: a lease would use it at once."""
    rig = Rig("3000/s,burst=10")
    waiting = [rig.spend() for _ in range(50)]
    assert {asked[1] for asked in rig.store.asked} == {1}
    assert len(rig.store.asked) == len(waiting)


async def test_a_client_that_has_gone_leaves_its_unit_to_others():
    """A request that is cancelled while it waits leaves its unit to the next one."""
    rig = Rig("3000/s")
    gone, waiting = rig.spend(), rig.spend()
    gone.cancel()
    rig.store.answer(1)
    assert waiting.result().allowed


async def test_a_unit_that_nobody_waits_for_goes_back_with_the_next_call():
    """A request that Envoy has given up is not charged: its retry asks another sidecar.

    Both calls were under way. The units go back as of the first grant, so no window has room too
    early.
    """
    rig = Rig("10/s")
    for gone in (rig.spend(), rig.spend()):
        gone.cancel()
    rig.store.answer(1, left=(9,), now=NOW)
    rig.store.answer(1, left=(8,), now=NOW + 50)
    rig.spend()
    assert [asked[1:4] for asked in rig.store.asked] == [(1, 2, NOW * 1000)]
    rig.store.answer(1, left=(9,))
    rig.spend()
    assert [asked[1:3] for asked in rig.store.asked] == [(1, 0)]
    assert Event.LIMIT_ALLOWED_ON_LEASE not in rig.probe.events


@pytest.mark.parametrize(("age", "returned"), [(0.9, 2), (1.0, 0)])
async def test_a_unit_that_nobody_waits_for_is_lost_after_a_second(age, returned):
    """A late return could meet counters that a failover or a reset has begun anew.

    The age is that of the first unit. The lost ones are counted.
    """
    rig = Rig("10/min,burst=10")
    for gone in (rig.spend(), rig.spend()):
        gone.cancel()
    rig.store.answer(1)
    rig.clock.advance(0.5)
    rig.store.answer(1)
    rig.clock.advance(age - 0.5)
    rig.spend()
    assert [asked[1:3] for asked in rig.store.asked] == [(1, returned)]
    assert rig.probe.events[Event.LEASE_STRANDED] == 2 - returned


async def test_a_unit_that_is_lost_does_not_go_back_with_a_change_or_a_stop():
    """A stop and a change of the key return no credits that were kept for a second."""
    rig = Rig("10/once")
    rig.spend().cancel()
    rig.store.answer(1)
    rig.clock.advance(1.0)
    rig.spend(record=make_record(limits=rig.record.limits, version=2)).cancel()
    assert [asked[1:3] for asked in rig.store.asked] == [(1, 0)]
    assert rig.probe.events[Event.LEASE_STRANDED] == 1

    rig.store.answer(1)
    rig.clock.advance(1.0)
    rig.limiter.give_back()
    assert rig.store.asked == []
    assert rig.probe.events[Event.LEASE_STRANDED] == 2


async def test_a_lease_goes_back_however_late():
    """The rest of a lease has no age bound: a quiet key would lose a part of its month."""
    rig = Rig("3000/s", "1000000/month")
    rig.lease(12)
    rig.clock.advance(100)
    rig.spend()
    assert rig.store.asked[0][2] == 12
    assert Event.LEASE_STRANDED not in rig.probe.events


async def test_a_lease_ends_with_the_period():
    """The next one has limits of its own."""
    rig = Rig("3000/s", "1000000/calendar-day")
    midnight = 1_763_856_000_000
    rig.clock.advance((midnight - 4 - NOW) / 1000)
    rig.spend()
    rig.store.answer(1, now=midnight - 4)
    waiters = [rig.spend() for _ in range(12)]
    rig.store.answer(1, now=midnight - 4)
    rig.store.answer(rig.store.asked[0][1], now=midnight - 4)
    assert all(waiter.done() for waiter in waiters)
    assert rig.spend().allowed
    rig.clock.advance(0.004)
    assert isinstance(rig.spend(), asyncio.Future)


async def test_the_stores_calendar_counts():
    """Told that its periods are not those of now, it asks again, once, for those of the store."""
    rig = Rig("10/calendar-day")
    waiting = rig.spend()
    tomorrow = NOW + 86_400_000
    rig.store.answer(-1, now=tomorrow)
    [(charge, wanted, *_)] = rig.store.asked
    assert wanted == 1
    assert charge.begins <= tomorrow < charge.ends
    rig.store.answer(1, now=tomorrow)
    assert waiting.result().allowed

    rig.spend()
    assert rig.store.asked[0][0] is charge


async def test_a_store_whose_clock_is_nowhere_is_an_outage():
    """A store whose clock fits no period is asked twice, and then counts as an outage."""
    rig = Rig("10/calendar-day", on_outage=OnOutage.DENY)
    waiting = rig.spend()
    rig.store.answer(-1)
    rig.store.answer(-1)
    with pytest.raises(Unavailable):
        waiting.result()


# without the store


async def test_local_goes_by_what_the_store_said_last():
    """7 of 10 were left, so 7 pass; each sidecar on its own."""
    rig = Rig("10/min")
    rig.spend()
    rig.store.answer(1, left=(7,))
    rig.store.is_open = False

    passed = [rig.spend() for _ in range(9)]
    assert [spent.allowed for spent in passed] == [True] * 7 + [False] * 2
    assert 59_000 < passed[-1].retry_after_ms <= 61_000
    assert rig.probe.events[Event.LIMIT_ALLOWED_IN_OUTAGE] == 7
    assert rig.probe.events[Event.LIMIT_DENIED_IN_OUTAGE] == 2

    rig.clock.advance(61)
    assert rig.spend().allowed


async def test_a_key_that_nobody_has_asked_about_has_all_of_its_limit():
    """In an outage a key that was never counted may use its whole limit."""
    rig = Rig("2/s")
    rig.store.is_open = False
    assert [rig.spend().allowed for _ in range(3)] == [True, True, False]


async def test_allow_lets_pass_and_deny_is_unavailable():
    """With `allow` requests pass and with `deny` they are Unavailable, by key or settings."""
    rig = Rig("1/s", on_outage=OnOutage.ALLOW)
    rig.store.is_open = False
    assert all(rig.spend().allowed for _ in range(5))

    rig = Rig("1/s", policy=LimitPolicy(on_outage=OnOutage.DENY))
    rig.store.is_open = False
    with pytest.raises(Unavailable):
        rig.spend()


async def test_what_passed_without_the_store_is_counted_when_it_is_back():
    """With the key's own next question, and for others with anybody's."""
    rig = Rig("10/s")
    other = make_record(kid="o" * 16, limits=rig.record.limits)
    rig.store.is_open = False
    for _ in range(3):
        rig.spend()
    rig.spend(record=other)
    rig.store.is_open = True

    rig.spend()
    assert rig.store.asked[0][1:3] == (1, -3)
    rig.store.answer(1)
    assert [asked[1:3] for asked in rig.store.asked] == [(0, -1)]
    rig.store.answer(0)
    rig.spend()
    assert rig.store.asked[0][1:3] == (1, 0)


async def test_a_debt_that_was_not_counted_stays():
    """Refused before anything was done: it goes with the next question. Lost: it may have been."""
    rig = Rig("10/s", on_outage=OnOutage.ALLOW)
    rig.store.is_open = False
    rig.spend()
    rig.store.is_open = True

    rig.spend()
    rig.store.fail(Unavailable("the store refused"))
    rig.spend()
    assert rig.store.asked[0][2] == -2
    rig.store.fail(OutcomeUnknown("lost"))
    rig.spend()
    assert rig.store.asked[0][2] == -1


async def test_a_lost_answer_is_an_outage_and_nothing_is_asked_twice():
    """After a lost reply waiting requests follow `on_outage`, and nothing is asked twice."""
    rig = Rig("3000/s")
    waiting = [rig.spend() for _ in range(3)]
    rig.store.is_open = False
    rig.store.fail(OutcomeUnknown("lost"))
    assert waiting[0].result().allowed
    [asked] = rig.store.asked
    assert asked[1] == 2  # the two who had not been asked for
    rig.store.fail(Unavailable("not connected"))
    assert [waiter.result().allowed for waiter in waiting] == [True] * 3


async def test_a_garbled_account_is_its_keys_own_outage():
    """Garbled counters are an outage for their own key only."""
    rig = Rig("10/s", on_outage=OnOutage.DENY)
    waiting = rig.spend()
    rig.store.fail(Unreadable("GARBLED"))
    with pytest.raises(Unavailable):
        waiting.result()
    assert rig.probe.events[Event.LIMIT_GARBLED] == 1
    assert isinstance(rig.spend(), asyncio.Future)


async def test_shadow_limits_are_counted_and_pass():
    """A limit that does not enforce counts, marks violations, and lets requests pass."""
    rig = Rig("1/s,enforce=false", "other=5/s")
    waiting = rig.spend()
    rig.store.answer(1, 500_000, 0)
    assert waiting.result().allowed
    assert waiting.result().violated == (0,)
    assert rig.probe.events[Event.LIMIT_SHADOW_DENIED] == 1


async def test_what_is_held_is_bounded_and_given_back():
    """The oldest goes, and the rest of its lease with it."""
    rig = Rig("3000/s", max_keys=2)
    rig.lease(12)
    for name in "ab":
        rig.spend(record=make_record(kid=name * 16, limits=rig.record.limits))
    wanted, back = rig.store.asked[1][1:3]
    assert wanted == 0
    assert back > 0


async def test_an_orderly_stop_gives_back_what_is_held():
    """A stop returns unused leases and debts; after it every request asks the store."""
    rig = Rig("3000/s")
    rig.lease(12)
    assert rig.spend().allowed
    indebted = make_record(kid="i" * 16, limits=rig.record.limits, on_outage=OnOutage.ALLOW)
    rig.store.is_open = False
    assert rig.spend(record=indebted).allowed
    rig.store.is_open = True
    assert rig.store.asked == []

    rig.limiter.give_back()
    assert [asked[1:4] for asked in rig.store.asked] == [(0, 11, NOW * 1000), (0, -1, 0)]
    assert rig.probe.events[Event.LIMIT_ALLOWED_ON_LEASE] == 1
    assert isinstance(rig.spend(), asyncio.Future)


async def test_a_change_of_the_key_strands_its_lease():
    """A changed key strands its lease, because its counters may have been reset."""
    rig = Rig("3000/s")
    rig.lease(12)
    rig.spend(record=make_record(limits=rig.record.limits, version=2))
    assert rig.store.asked[0][2] == 0
    assert rig.probe.events[Event.LEASE_STRANDED] > 0


async def test_a_change_of_the_key_returns_its_credits():
    """A refill must lose no credits in a lease, and forget none that passed in an outage."""
    rig = Rig("3000/s", "90000/once")
    rig.lease(12)
    [leased] = filter(None, rig.store.leases)
    refilled = make_record(limits=parse_limits("limits", ("3000/s", "95000/once")), version=2)
    rig.spend(record=refilled)
    charge, wanted, back, granted_at, _ = rig.store.asked[0]
    assert [counter.field for counter in charge.counters] == ["credits once unit"]
    assert (wanted, granted_at) == (0, NOW * 1000)
    assert back == leased
    assert rig.store.asked[1][1:3] == (1, 0)

    outage = Rig("100/once")
    outage.store.is_open = False
    assert [outage.spend().allowed for _ in range(3)] == [True] * 3
    outage.store.is_open = True
    outage.spend(record=make_record(limits=outage.record.limits, version=2))
    assert outage.store.asked[0][1:3] == (0, -3)


async def test_used_up_credits():
    """Without credits there is no time to come again, and the store is asked once a minute."""
    rig = Rig("3/once")
    refused = rig.spend()
    rig.store.answer(0, -1, left=(0,))
    assert (refused.result().allowed, refused.result().retry_after_ms) == (False, None)
    rig.clock.advance(59.9)
    assert rig.spend().retry_after_ms is None
    rig.clock.advance(0.2)
    assert isinstance(rig.spend(), asyncio.Future)

    costly = rig.spend(cost=5)
    rig.store.asked.pop(0)
    rig.store.answer(0, -1, left=(3,))
    assert costly.result().retry_after_ms is None
    rig.clock.advance(1e6)
    assert rig.spend(cost=5).retry_after_ms is None


# through the Checker


class Limited(CheckRig):
    """A checker whose key has limits."""

    def __init__(self, *texts, **fields):
        super().__init__()
        self.record = make_record(
            kid=self.record.kid,
            secrets=self.record.secrets,
            limits=parse_limits("limits", texts),
            **fields,
        )
        self.source.records[self.record.kid] = self.record
        self.store = MemorySpendStore()
        limiter = Limiter(self.store, LimitPolicy(), self.clock, self.probe, max_keys=10)
        self.checker = Checker(self.cache, self.peppers, self.clock, self.probe, limiter=limiter)

    async def hold(self):
        """The record is in the cache."""
        finding = asyncio.create_task(self.cache.find(self.record.kid))
        await asyncio.sleep(0)
        self.source.answer_all()
        await finding

    async def decide_with(self, answer):
        """The decision, after the store's answer."""
        decision = asyncio.ensure_future(self.checker.check(self.request(self.text)))
        await asyncio.sleep(0)
        answer()
        return await decision


async def test_the_checker_charges_who_is_let_through():
    """The checker charges allowed requests, reports the result, and counts the decision once."""
    rig = Limited("10/s")
    await rig.hold()
    decision = await rig.decide_with(lambda: rig.store.answer(1, left=(9,)))
    assert isinstance(decision, Charged)
    assert decision.limit_result.remaining == (9,)

    refused = await rig.decide_with(lambda: rig.store.answer(0, 10_000))
    assert isinstance(refused, OverLimit)
    assert refused.reason is Reason.RATE_LIMITED
    again = rig.checker.check(rig.request(rig.text))
    assert isinstance(again, OverLimit)
    assert rig.probe.decisions == [None, Reason.RATE_LIMITED, Reason.RATE_LIMITED]


async def test_who_is_refused_anyway_takes_nothing():
    """A wrong secret asks nothing of the limits."""
    rig = Limited("10/s")
    await rig.hold()
    decision = rig.checker.check(rig.request(rig.sibling()))
    assert decision.reason is Reason.WRONG_SECRET
    assert rig.store.asked == []


async def test_limits_that_cannot_be_counted_are_unavailable():
    """With `on_outage` deny a request is UNAVAILABLE, at once and after a wait."""
    rig = Limited("10/s", on_outage=OnOutage.DENY)
    await rig.hold()
    decision = await rig.decide_with(lambda: rig.store.fail(OutcomeUnknown("lost")))
    assert decision.reason is Reason.UNAVAILABLE

    rig.store.is_open = False
    assert rig.checker.check(rig.request(rig.text)).reason is Reason.UNAVAILABLE


async def test_in_an_outage_what_is_held_is_charged_as_stale():
    """In an outage a stale record is charged by the local counters."""
    rig = Limited("1/s", outage_grace=60_000)
    await rig.hold()
    rig.store.is_open = False
    rig.cache.trust(0.0)
    assert isinstance(rig.checker.check(rig.request(rig.text)), StaleCharged)
    assert rig.checker.check(rig.request(rig.text)).stale


async def test_a_key_that_is_looked_up_first_is_charged_too():
    """A key that is loaded first is charged to its limits, too."""
    rig = Limited("10/s")
    decision = asyncio.ensure_future(rig.checker.check(rig.request(rig.text)))
    await asyncio.sleep(0)
    rig.source.answer_all()
    while not rig.store.asked:
        await asyncio.sleep(0)
    rig.store.answer(1)
    assert isinstance(await decision, Charged)
