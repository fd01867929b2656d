"""KeyCache: what it keeps, for how long, what it never serves, and what it asks the source."""

import asyncio
from dataclasses import replace

import pytest

from authz.core.errors import Unavailable, Unreadable
from authz.core.events import Event
from authz.core.records import Status
from authz.flows.keycache import MAX_REVOKED
from tests.support.caches import make_cache
from tests.support.fakes import KID, NOW, make_record
from tests.support.flows.rigs import FOREVER, RECORD, REVOKED, CacheRig, numbered


@pytest.fixture
def rig():
    """A cache with the usual settings."""
    return CacheRig()


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
    rig = CacheRig(jitter=lambda: jitter)
    await rig.hold(RECORD)

    rig.clock.advance(life - 0.001)
    assert rig.cache.peek(KID) is RECORD
    rig.clock.advance(0.002)
    assert rig.cache.peek(KID) is None

    await rig.hold(RECORD)
    assert rig.source.loads[KID] == 2
    assert rig.cache.peek(KID) is RECORD


async def test_the_default_jitter_spreads(rig):
    """Records that were read together do not all end together."""
    cache = make_cache(rig.source, rig.clock, rig.probe)
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


async def test_a_record_is_not_kept_past_its_expiry():
    """When a key expires its record is read again: it may have been given a longer life."""
    rig = CacheRig()
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
    rig = CacheRig(max_entries=3)
    await rig.hold(*map(numbered, range(3)))
    rig.clock.advance(61)
    await rig.hold(numbered(0))  # read again: now the newest

    await rig.hold(numbered(3), numbered(4))

    assert len(rig.cache) == 3
    assert rig.cache.peek(numbered(0).kid) is not None
    assert rig.probe.events[Event.CACHE_EVICTION] == 2


async def test_reading_a_kept_record_again_evicts_nothing():
    """A record that is loaded again evicts no other."""
    rig = CacheRig(max_entries=2)
    await rig.hold(numbered(0), numbered(1))
    rig.clock.advance(61)

    await rig.hold(numbered(0), numbered(1))

    assert rig.probe.events[Event.CACHE_EVICTION] == 0


# negatives and faults


async def test_an_unknown_key_is_remembered_briefly(rig):
    """An unknown key that is tried again costs no load for a while."""
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
    rig = CacheRig(max_entries=2, max_negatives=10)
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
    """An unreadable record is Unavailable, and is not loaded again for every request."""
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
    """A key that was loaded as revoked stays revoked, also without a notice."""
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


@pytest.mark.parametrize(
    ("seen", "kept"),
    [((0, 1, 2), {0, 1, 2}), ((0, 1, 2, 1), {0, 1, 2}), ((0, 1, 2, 0, 3), {2, 0, 3})],
)
async def test_revoked_kids_are_bounded_and_the_newest_kept(seen, kept):
    """The kid whose revocation was seen longest ago is the first to be forgotten."""
    rig = CacheRig()
    for i in seen:
        rig.cache.forget(numbered(i).kid, revoked=True)
    for i in range(MAX_REVOKED - 3):
        rig.cache.forget(f"other-{i}", revoked=True)

    still = set()
    for i in range(4):
        [task] = await rig.ask(numbered(i).kid)
        rig.source.answer(numbered(i).kid, numbered(i))
        if (await task).status is Status.REVOKED:
            still.add(i)

    assert still == kept
