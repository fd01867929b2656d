"""KeyCache: what it asks the source, and what it makes of changes and of trust meanwhile."""

import asyncio

import pytest

from authz.core.errors import Unavailable, Unreadable
from authz.core.events import Event
from authz.flows import keycache
from tests.support.caches import make_cache
from tests.support.fakes import KID, FakeClock, MemoryKeySource, RecordingProbe, make_record
from tests.support.flows.rigs import RECORD, CacheRig, numbered


@pytest.fixture
def rig():
    """A cache with the usual settings."""
    return CacheRig()


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
    """A waiter that leaves, also the one that began the load, cancels no other."""
    tasks = await rig.ask(waiters=3)
    leaver = tasks.pop(cancelled)

    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    rig.source.answer(KID, RECORD)

    assert await asyncio.gather(*tasks) == [RECORD, RECORD]
    assert rig.source.loads[KID] == 1


async def test_a_load_that_all_waiters_left_still_fills(rig):
    """A load whose waiters have all left still fills the cache."""
    tasks = await rig.ask(waiters=2)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    rig.source.answer(KID, RECORD)

    assert rig.cache.peek(KID) is RECORD


async def test_a_store_that_does_not_answer_is_unavailable():
    """After the deadline the request goes; the load goes on, and no second one is sent."""
    rig = CacheRig(deadline=0.01)

    for _ in range(2):
        with pytest.raises(Unavailable, match="in time"):
            await rig.cache.find(KID)
    assert rig.source.loads[KID] == 1
    assert rig.probe.events[Event.LOOKUP_TIMEOUT] == 2

    rig.source.answer(KID, RECORD)
    assert rig.cache.peek(KID) is RECORD


async def test_a_process_that_slept_does_not_serve_what_came_meanwhile():
    """A waiter that wakes after its deadline is refused, though the answer lies there."""
    rig = CacheRig(deadline=30.0)
    [task] = await rig.ask()

    rig.clock.advance(30.0)
    rig.source.answer(KID, RECORD)

    with pytest.raises(Unavailable, match="in time"):
        await task
    assert rig.probe.events[Event.LOOKUP_TIMEOUT] == 1


async def test_the_deadline_is_for_all_loads_together(rig, monkeypatch):
    """A waiter that has to load again waits for what is left of its time."""
    timeout, waits = asyncio.timeout, []
    monkeypatch.setattr(asyncio, "timeout", lambda left: waits.append(left) or timeout(left))
    [task] = await rig.ask()

    rig.clock.advance(10.0)
    rig.source.answer(KID, RECORD)
    rig.cache.forget(KID, revoked=False)
    while KID not in rig.source.pending:
        await asyncio.sleep(0)
    rig.source.answer(KID, RECORD)

    assert await task is RECORD
    assert waits == [30.0, 20.0]


# trust


async def test_without_trust_nothing_is_served_and_nothing_asked():
    """A cache that was never told to trust its link refuses at once."""
    rig = CacheRig()
    await rig.hold(RECORD)

    for until in (0.0, rig.clock.monotonic()):
        rig.cache.trust(until)
        assert rig.cache.peek(KID) is None
        for kid in (KID, numbered(1).kid):
            with pytest.raises(Unavailable, match="not trusted"):
                await rig.cache.find(kid)

    assert rig.source.loads == {KID: 1}


async def test_a_new_cache_trusts_nothing():
    """A new cache trusts nothing before the first heartbeat."""
    fresh = make_cache(MemoryKeySource(), FakeClock(monotonic=0.0), RecordingProbe())

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
    """A notice of an unknown kid changes nothing."""
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
