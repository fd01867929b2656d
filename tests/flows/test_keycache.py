"""KeyCache: what it keeps, for how long, what it never serves, and what it asks the source."""

import asyncio
from dataclasses import replace

import pytest

from authz.core.errors import Unavailable, Unreadable
from authz.core.ports import Event
from authz.core.records import Status
from authz.flows import keycache
from authz.flows.keycache import KeyCache
from tests.fakes import KID, NOW, FakeClock, MemoryKeySource, RecordingProbe, make_record

RECORD = make_record()
REVOKED = make_record(status=Status.REVOKED, version=2)
FOREVER = 1e9


class Rig:
    """A trusted cache and everything around it."""

    def __init__(self, **settings):
        self.source = MemoryKeySource()
        self.clock = FakeClock()
        self.probe = RecordingProbe()
        defaults = {
            "ttl": 60.0,
            "negative_ttl": 5.0,
            "max_entries": 1000,
            "max_negatives": 1000,
            "deadline": 30.0,
            "jitter": lambda: 0.0,
        }
        self.cache = KeyCache(self.source, self.clock, self.probe, **defaults | settings)
        self.cache.trust(FOREVER)

    async def ask(self, kid=KID, waiters=1):
        """Begin to find `kid`; the tasks wait for the source when this returns."""
        tasks = [asyncio.create_task(self.cache.find(kid)) for _ in range(waiters)]
        await asyncio.sleep(0)
        return tasks

    async def hold(self, *records):
        """Put records into the cache by the ordinary way."""
        for record in records:
            [task] = await self.ask(record.kid)
            self.source.answer(record.kid, record)
            assert await task == record


@pytest.fixture
def rig():
    """A cache with the usual settings."""
    return Rig()


def numbered(i, **overrides):
    """The record of one of many kids."""
    return make_record(kid=f"{i:016}", **overrides)


# keeping


async def test_a_found_record_is_kept(rig):
    """The first find asks the source, what follows is served without it."""
    assert rig.cache.peek(KID) is None

    await rig.hold(RECORD)

    assert rig.cache.peek(KID) is RECORD
    assert await rig.cache.find(KID) is RECORD
    assert rig.source.loads[KID] == 1
    assert len(rig.cache) == 1
    assert rig.probe.events == {Event.CACHE_MISS: 1}


@pytest.mark.parametrize(("jitter", "life"), [(0.0, 60.0), (0.5, 57.0), (1.0, 54.0)])
async def test_a_record_is_kept_for_the_ttl_less_jitter(jitter, life):
    """A record lives up to a tenth less than the TTL, so that not all end together."""
    rig = Rig(jitter=lambda: jitter)
    await rig.hold(RECORD)

    rig.clock.advance(life - 0.001)
    assert rig.cache.peek(KID) is RECORD
    rig.clock.advance(0.002)
    assert rig.cache.peek(KID) is None

    await rig.hold(RECORD)
    assert rig.source.loads[KID] == 2
    assert rig.cache.peek(KID) is RECORD


async def test_a_record_is_not_kept_past_its_expiry():
    """When a key expires its record is read again: it may have been given a longer life."""
    rig = Rig()
    ending = make_record(expires_at=NOW + 10_000)
    await rig.hold(ending)

    rig.clock.advance(9.999)
    assert rig.cache.peek(KID) is ending
    rig.clock.advance(0.002)
    assert rig.cache.peek(KID) is None


async def test_an_expired_record_is_kept_briefly(rig):
    """An expired key does not cost a load for every request that still presents it."""
    expired = make_record(expires_at=NOW - 1)
    await rig.hold(expired)

    rig.clock.advance(4.999)
    assert rig.cache.peek(KID) is expired
    rig.clock.advance(0.002)
    assert rig.cache.peek(KID) is None


async def test_the_wall_clock_ends_no_entry(rig):
    """Somebody who sets the clock neither prolongs nor ends what is cached."""
    await rig.hold(RECORD)

    for jump in (-86_400_000, 2 * 86_400_000):
        rig.clock.jump_wall(jump)
        assert rig.cache.peek(KID) is RECORD
    rig.clock.advance(60)
    assert rig.cache.peek(KID) is None


async def test_records_are_bounded():
    """The record that was read longest ago makes room, and that is counted."""
    rig = Rig(max_entries=3)
    await rig.hold(*map(numbered, range(3)))
    rig.clock.advance(61)
    await rig.hold(numbered(0))  # read again: now the newest

    await rig.hold(numbered(3), numbered(4))

    assert len(rig.cache) == 3
    assert rig.cache.peek(numbered(0).kid) is not None
    assert rig.probe.events[Event.CACHE_EVICTION] == 2


async def test_reading_a_kept_record_again_evicts_nothing():
    """Taking its own place needs no room."""
    rig = Rig(max_entries=2)
    await rig.hold(numbered(0), numbered(1))
    rig.clock.advance(61)

    await rig.hold(numbered(0), numbered(1))

    assert rig.probe.events[Event.CACHE_EVICTION] == 0


# negatives and faults


async def test_an_unknown_key_is_remembered_briefly(rig):
    """Who tries the same unknown key again costs nothing for a while."""
    [task] = await rig.ask()
    rig.source.answer(KID, None)
    assert await task is None

    rig.clock.advance(4.999)
    assert await rig.cache.find(KID) is None
    assert rig.cache.peek(KID) is None
    assert rig.source.loads[KID] == 1
    assert rig.probe.events[Event.CACHE_NEGATIVE_HIT] == 2  # the first find reads it there too

    rig.clock.advance(0.002)
    await rig.hold(RECORD)
    assert rig.source.loads[KID] == 2


async def test_garbage_does_not_push_out_good_keys():
    """Negatives have a bound of their own."""
    rig = Rig(max_entries=2, max_negatives=10)
    await rig.hold(RECORD)

    for i in range(100):
        [task] = await rig.ask(numbered(i).kid)
        rig.source.answer_all()
        assert await task is None

    assert rig.cache.peek(KID) is RECORD
    remembered = 0
    for i in range(100):
        [task] = await rig.ask(numbered(i).kid)
        remembered += task.done()
        task.cancel()
    assert remembered == 10


async def test_an_issued_key_is_known_at_once(rig):
    """A notice ends a negative too."""
    [task] = await rig.ask()
    rig.source.answer(KID, None)
    assert await task is None

    rig.cache.forget(KID, revoked=False)

    await rig.hold(RECORD)


async def test_an_unreadable_record_is_remembered_briefly(rig):
    """It is unavailable, not unknown, and is not read again for every request."""
    [task] = await rig.ask()
    rig.source.answer(KID, Unreadable("record is garbled"))
    for attempt in (task, rig.cache.find(KID), rig.cache.find(KID)):
        with pytest.raises(Unreadable, match="record is garbled"):
            await attempt
    assert rig.source.loads[KID] == 1

    rig.clock.advance(5.001)
    await rig.hold(RECORD)


async def test_a_fault_is_not_remembered(rig):
    """The store that did not answer one request is asked again by the next."""
    [task] = await rig.ask()
    rig.source.answer(KID, Unavailable("the link was lost"))
    with pytest.raises(Unavailable, match="the link was lost"):
        await task

    await rig.hold(RECORD)


@pytest.mark.parametrize("fault", [Unavailable("the link was lost"), Unreadable("garbled")])
async def test_a_fault_keeps_no_request_alive(rig, fault):
    """Each waiter gets a fault of its own: a shared one would collect the frames of all of them.

    Those frames hold the requests, and so the keys that they presented.
    """
    tasks = await rig.ask(waiters=10)
    rig.source.answer(KID, fault)

    raised = await asyncio.gather(*tasks, return_exceptions=True)

    assert {str(each) for each in raised} == {str(fault)}
    assert len({id(each) for each in raised}) == 10
    assert fault.__traceback__ is None


# loads


async def test_one_load_serves_all_waiters(rig):
    """A hundred requests for one key cost one load."""
    tasks = await rig.ask(waiters=100)

    rig.source.answer(KID, RECORD)

    assert await asyncio.gather(*tasks) == [RECORD] * 100
    assert rig.source.loads[KID] == 1
    assert rig.probe.events[Event.CACHE_MISS] == 1


async def test_loads_of_different_keys_do_not_wait_for_each_other(rig):
    """The second key's record arrives while the first is still on its way."""
    [first] = await rig.ask(numbered(1).kid)
    [second] = await rig.ask(numbered(2).kid)

    rig.source.answer(numbered(2).kid, numbered(2))

    assert await second == numbered(2)
    assert not first.done()
    rig.source.answer(numbered(1).kid, numbered(1))
    assert await first == numbered(1)


@pytest.mark.parametrize("cancelled", [0, 1, 2])
async def test_a_cancelled_waiter_cancels_nobody_else(rig, cancelled):
    """Whoever began the load and whoever leaves, the others get their record."""
    tasks = await rig.ask(waiters=3)
    leaver = tasks.pop(cancelled)

    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    rig.source.answer(KID, RECORD)

    assert await asyncio.gather(*tasks) == [RECORD, RECORD]
    assert rig.source.loads[KID] == 1


async def test_a_load_that_all_waiters_left_still_fills(rig):
    """What was paid for is kept."""
    tasks = await rig.ask(waiters=2)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    rig.source.answer(KID, RECORD)

    assert rig.cache.peek(KID) is RECORD


async def test_a_store_that_does_not_answer_is_unavailable():
    """After the deadline the request goes; the load goes on, and no second one is sent."""
    rig = Rig(deadline=0.01)

    for _ in range(2):
        with pytest.raises(Unavailable, match="in time"):
            await rig.cache.find(KID)
    assert rig.source.loads[KID] == 1
    assert rig.probe.events[Event.LOOKUP_TIMEOUT] == 2

    rig.source.answer(KID, RECORD)
    assert rig.cache.peek(KID) is RECORD


async def test_a_process_that_slept_does_not_serve_what_came_meanwhile():
    """A waiter that wakes after its deadline is refused, though the answer lies there."""
    rig = Rig(deadline=30.0)
    [task] = await rig.ask()

    rig.clock.advance(30.0)
    rig.source.answer(KID, RECORD)

    with pytest.raises(Unavailable, match="in time"):
        await task


# trust


async def test_without_trust_nothing_is_served_and_nothing_asked():
    """A cache that was never told to trust its link refuses at once."""
    rig = Rig()
    await rig.hold(RECORD)

    for until in (0.0, rig.clock.monotonic()):
        rig.cache.trust(until)
        assert rig.cache.peek(KID) is None
        for kid in (KID, numbered(1).kid):
            with pytest.raises(Unavailable, match="not trusted"):
                await rig.cache.find(kid)

    assert rig.source.loads == {KID: 1}


async def test_a_new_cache_trusts_nothing():
    """Trust begins with the first heartbeat."""
    fresh = KeyCache(
        MemoryKeySource(),
        FakeClock(monotonic=0.0),
        RecordingProbe(),
        ttl=60,
        negative_ttl=5,
        max_entries=1,
        max_negatives=1,
        deadline=1,
    )

    with pytest.raises(Unavailable, match="not trusted"):
        await fresh.find(KID)


async def test_trust_ends_by_itself(rig):
    """A record is served until the lease is over, and again with the next heartbeat."""
    await rig.hold(RECORD)
    rig.cache.trust(rig.clock.monotonic() + 1)

    rig.clock.advance(0.999)
    assert rig.cache.peek(KID) is RECORD
    rig.clock.advance(0.001)
    assert rig.cache.peek(KID) is None

    rig.cache.trust(rig.clock.monotonic() + 1)
    assert rig.cache.peek(KID) is RECORD
    assert rig.source.loads[KID] == 1


@pytest.mark.parametrize("loaded", [RECORD, None, Unreadable("garbled")])
async def test_trust_is_read_at_answer_time(rig, loaded):
    """An answer that arrives after trust lapsed is not served, whatever it says."""
    rig.cache.trust(rig.clock.monotonic() + 1)
    [task] = await rig.ask()

    rig.clock.advance(1.0)
    rig.source.answer(KID, loaded)

    with pytest.raises(Unavailable, match="not trusted"):
        await task


async def test_trust_lost_between_load_and_wake(rig):
    """The waiter finds out when it wakes, not when it began."""
    [task] = await rig.ask()

    rig.source.answer(KID, RECORD)
    rig.cache.trust(0.0)

    with pytest.raises(Unavailable, match="not trusted"):
        await task


# changes


async def test_a_changed_key_is_read_again(rig):
    """A notice drops that record, and no other."""
    await rig.hold(RECORD, numbered(1))

    rig.cache.forget(KID, revoked=False)

    assert rig.cache.peek(KID) is None
    assert rig.cache.peek(numbered(1).kid) is not None
    await rig.hold(make_record(version=2))


async def test_a_notice_of_an_unknown_kid_is_harmless(rig):
    """Most notices are of keys that this sidecar never saw."""
    rig.cache.forget(KID, revoked=False)

    await rig.hold(RECORD)


@pytest.mark.parametrize("loaded", [RECORD, None])
@pytest.mark.parametrize("flush", [True, False])
async def test_a_change_between_load_and_wake(rig, loaded, flush):
    """The waiter does not get what its load carried, but what is true when it wakes."""
    newer = make_record(version=2)
    [task] = await rig.ask()

    rig.source.answer(KID, loaded)
    if flush:
        rig.cache.flush()
    else:
        rig.cache.forget(KID, revoked=False)
    await asyncio.sleep(0)
    assert not task.done()
    while KID not in rig.source.pending:
        await asyncio.sleep(0)
    rig.source.answer(KID, newer)

    assert await task is newer
    assert rig.source.loads[KID] == 2


async def test_a_key_that_changes_all_the_time_is_unavailable(rig):
    """A waiter loads three times and no more."""
    [task] = await rig.ask()

    for _ in range(keycache.MAX_ATTEMPTS):
        while KID not in rig.source.pending:
            await asyncio.sleep(0)
        rig.source.answer(KID, RECORD)
        rig.cache.forget(KID, revoked=False)

    with pytest.raises(Unavailable, match="in time"):
        await task
    assert rig.source.loads[KID] == keycache.MAX_ATTEMPTS


async def test_flush_forgets_records_and_negatives(rig):
    """After changes may have been missed everything is read again."""
    await rig.hold(RECORD)
    [task] = await rig.ask(numbered(1).kid)
    rig.source.answer_all()
    assert await task is None

    rig.cache.flush()

    assert len(rig.cache) == 0
    await rig.hold(RECORD, numbered(1))
    assert rig.probe.events[Event.FLUSH] == 1


# revoked keys


async def test_a_kid_told_revoked_stays_revoked(rig):
    """After the notice, a flush and a store that says active again, the key is still revoked."""
    await rig.hold(RECORD)
    rig.cache.forget(KID, revoked=True)
    rig.cache.flush()

    [task] = await rig.ask()
    rig.source.answer(KID, RECORD)

    assert await task == replace(RECORD, status=Status.REVOKED)
    assert rig.cache.peek(KID).status is Status.REVOKED


async def test_a_kid_read_revoked_stays_revoked(rig):
    """It is enough to have read the revoked record once, without a notice."""
    await rig.hold(REVOKED)
    rig.cache.flush()

    [task] = await rig.ask()
    rig.source.answer(KID, RECORD)

    assert (await task).status is Status.REVOKED


async def test_a_later_notice_revives_nothing(rig):
    """A notice that says nothing of a revocation does not undo the one that did."""
    rig.cache.forget(KID, revoked=True)
    rig.cache.forget(KID, revoked=False)

    [task] = await rig.ask()
    rig.source.answer(KID, RECORD)

    assert (await task).status is Status.REVOKED


async def test_revoked_kids_are_bounded_and_the_newest_kept(rig, monkeypatch):
    """The kid whose revocation was seen longest ago is the first to be forgotten."""
    monkeypatch.setattr(keycache, "MAX_REVOKED", 3)
    for i in (0, 1, 2, 0, 3):  # 0 was seen again after 1 and 2
        rig.cache.forget(numbered(i).kid, revoked=True)

    still = []
    for i in range(4):
        [task] = await rig.ask(numbered(i).kid)
        rig.source.answer(numbered(i).kid, numbered(i))
        still.append((await task).status is Status.REVOKED)

    assert still == [True, False, True, True]


async def test_the_default_jitter_spreads(rig):
    """Records that were read together do not all end together."""
    cache = KeyCache(
        rig.source,
        rig.clock,
        rig.probe,
        ttl=60,
        negative_ttl=5,
        max_entries=1000,
        max_negatives=1,
        deadline=1,
    )
    cache.trust(FOREVER)
    tasks = [asyncio.create_task(cache.find(numbered(i).kid)) for i in range(500)]
    await asyncio.sleep(0)
    rig.source.records = {numbered(i).kid: numbered(i) for i in range(500)}
    rig.source.answer_all()
    await asyncio.gather(*tasks)

    rig.clock.advance(53.999)
    assert all(cache.peek(numbered(i).kid) for i in range(500))
    rig.clock.advance(3)
    assert 100 < sum(cache.peek(numbered(i).kid) is not None for i in range(500)) < 400
    rig.clock.advance(3.002)
    assert not any(cache.peek(numbered(i).kid) for i in range(500))
