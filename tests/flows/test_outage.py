"""KeyCache in an outage of the store: what it holds, for how long, and what ends that."""

import asyncio
from dataclasses import replace

import pytest

from authz.core.errors import Unreadable
from authz.core.records import Status
from authz.flows import cache_contents, packed_records
from tests.support.fakes import KID, make_contents, make_record
from tests.support.flows.rigs import RECORD, CacheRig, numbered

GRACE = 30.0


@pytest.fixture
def rig():
    """A trusted cache with a grace."""
    return CacheRig(grace=GRACE)


async def test_without_a_loss_of_trust_nothing_is_recalled_past_it(rig):
    """Trust that lapses counts from its end, trust that is dropped from the drop."""
    await rig.hold(RECORD)
    rig.cache.trust(rig.clock.monotonic() + 1)
    rig.clock.advance(0.5)
    lapses_at = 0.5 + GRACE
    rig.clock.advance(lapses_at - 0.001)
    assert rig.cache.peek_stale(KID) == RECORD
    rig.clock.advance(0.002)
    assert rig.cache.peek_stale(KID) is None

    rig.cache.trust(rig.clock.monotonic() + 1)
    rig.cache.trust(0.0)
    rig.clock.advance(GRACE - 0.001)
    assert rig.cache.peek_stale(KID) == RECORD
    rig.clock.advance(0.002)
    assert rig.cache.peek_stale(KID) is None


async def test_a_link_that_flaps_prolongs_nothing(rig):
    """Links that end before they are trusted, and heartbeats that come too late, move nothing."""
    await rig.hold(RECORD)
    rig.cache.trust(0.0)

    for _ in range(29):
        rig.clock.advance(1)
        rig.cache.flush()
        rig.cache.trust(rig.clock.monotonic())
        rig.cache.trust(0.0)
        assert rig.cache.peek_stale(KID) == RECORD
    rig.clock.advance(1)

    assert rig.cache.peek_stale(KID) is None


async def test_what_a_flush_took_out_ends_when_trust_is_back(rig):
    """Flushed records are dropped when trust is back; the next outage does not serve them."""
    await rig.hold(RECORD, numbered(1))
    rig.cache.trust(0.0)
    rig.cache.flush()
    assert rig.cache.peek_stale(KID) == RECORD

    rig.cache.trust(rig.clock.monotonic() + 1)
    await rig.hold(RECORD)
    rig.cache.trust(0.0)

    assert rig.cache.peek_stale(KID) == RECORD
    assert rig.cache.peek_stale(numbered(1).kid) is None


async def test_what_is_held_aside_is_bounded():
    """Flush after flush holds no more than the cache may, and the newest of that."""
    rig = CacheRig(grace=GRACE, max_entries=3)
    for i in range(0, 8, 2):
        await rig.hold(numbered(i), numbered(i + 1))
        rig.cache.flush()

    held = [i for i in range(8) if rig.cache.peek_stale(numbered(i).kid)]

    assert held == [5, 6, 7]


@pytest.mark.parametrize("flushed", [True, False])
async def test_a_store_that_is_not_ours_ends_it_at_once(rig, flushed):
    """A foreign store ends stale serving, of flushed records too; revoked kids are remembered."""
    await rig.hold(RECORD)
    rig.cache.forget(numbered(1).kid, revoked=True)
    if flushed:
        rig.cache.flush()
    rig.cache.trust(0.0)

    rig.cache.flush(foreign=True)

    assert rig.cache.peek_stale(KID) is None
    assert rig.cache.grace_left == 0
    assert rig.cache.contents().revoked == [numbered(1).kid]


@pytest.mark.parametrize("flushed", [True, False])
async def test_a_changed_record_is_not_held(rig, flushed):
    """A changed record is not served stale, because its new state is unknown."""
    await rig.hold(RECORD)
    if flushed:
        rig.cache.flush()

    rig.cache.forget(KID, revoked=False)
    rig.cache.trust(0.0)

    assert rig.cache.peek_stale(KID) is None


@pytest.mark.parametrize("flushed", [True, False])
async def test_a_revoked_record_is_held_as_revoked(rig, flushed):
    """However long the outage; and `peek` reads it anew once there is trust."""
    await rig.hold(RECORD)
    if flushed:
        rig.cache.flush()

    rig.cache.forget(KID, revoked=True)
    assert rig.cache.peek(KID) is None
    rig.cache.trust(0.0)
    rig.clock.advance(1000 * GRACE)

    assert rig.cache.peek_stale(KID) == replace(RECORD, status=Status.REVOKED)


@pytest.mark.parametrize("loaded", [None, Unreadable("garbled")])
async def test_what_the_store_denies_is_not_held(rig, loaded):
    """A record that was read as absent or unreadable since is not gone on with."""
    await rig.hold(RECORD)
    rig.clock.advance(61)
    [task] = await rig.ask()
    rig.source.answer(KID, loaded)
    await asyncio.wait([task])
    task.exception()
    rig.cache.trust(0.0)

    assert rig.cache.peek_stale(KID) is None


async def test_the_wall_clock_moves_no_bound(rig):
    """Trust, TTL and grace are counted by the clock that nobody sets."""
    await rig.hold(RECORD)
    rig.cache.trust(rig.clock.monotonic() + 1)
    for jump in (-400 * 86_400_000, 800 * 86_400_000):
        rig.clock.jump_wall(jump)
        assert rig.cache.is_trusted
        assert rig.cache.peek(KID) is RECORD

    rig.cache.trust(0.0)
    rig.clock.jump_wall(-800 * 86_400_000)
    assert not rig.cache.is_trusted
    assert rig.cache.grace_left == GRACE
    rig.clock.advance(GRACE - 0.001)
    assert rig.cache.peek_stale(KID) == RECORD
    rig.clock.jump_wall(-1)
    rig.clock.advance(0.002)
    assert rig.cache.peek_stale(KID) is None


# over a restart


async def test_what_is_done_with_all_records_unpacks_none(monkeypatch):
    """A flush, the holdings and their restoration leave the event loop to the requests."""
    rig, other = CacheRig(grace=GRACE, max_in_use=1), CacheRig(grace=GRACE)
    await rig.hold(*map(numbered, range(3)))
    unpacked = []
    for module in (cache_contents, packed_records):
        monkeypatch.setattr(module, "unpack", unpacked.append)

    rig.cache.flush()
    held = rig.cache.contents()
    other.cache.restore(held)

    assert list(held.packed) == [numbered(i).kid for i in range(3)]
    assert other.cache.contents().packed == held.packed
    assert unpacked == []


async def test_another_process_goes_on_with_the_holdings(rig):
    """A restarted process serves restored records for the rest of the grace."""
    await rig.hold(RECORD, numbered(1), numbered(2))
    rig.cache.forget(numbered(1).kid, revoked=True)
    rig.cache.flush()
    rig.cache.trust(0.0)
    rig.clock.advance(10)
    held = rig.cache.contents()

    other = CacheRig(grace=GRACE)
    other.cache.trust(0.0)
    other.cache.restore(replace(held, last_trusted=other.clock.monotonic() - 10))

    assert other.cache.peek_stale(KID) == RECORD
    assert other.cache.peek_stale(numbered(1).kid).status is Status.REVOKED
    assert other.cache.grace_left == GRACE - 10
    other.clock.advance(GRACE - 10)
    assert other.cache.peek_stale(KID) is None
    assert other.cache.peek_stale(numbered(1).kid).status is Status.REVOKED


async def test_restored_records_are_never_current(rig):
    """Restored records are never current: trust drops them, and they are loaded again."""
    rig.cache.trust(0.0)
    rig.cache.restore(make_contents(RECORD, last_trusted=rig.clock.monotonic()))
    assert rig.cache.peek(KID) is None
    assert rig.cache.peek_stale(KID) == RECORD

    rig.cache.trust(rig.clock.monotonic() + 1)

    assert rig.cache.peek(KID) is None
    assert rig.cache.peek_stale(KID) is None


async def test_a_kid_that_was_seen_revoked_is_restored_as_revoked(rig):
    """A kid that was seen revoked is restored as revoked, even if its record is active."""
    rig.cache.trust(0.0)
    other = make_record(kid="B" * 16)
    rig.cache.restore(
        make_contents(RECORD, other, revoked=[KID], last_trusted=rig.clock.monotonic())
    )

    assert rig.cache.peek_stale(KID).status is Status.REVOKED
    assert rig.cache.peek_stale("B" * 16).status is Status.ACTIVE


async def test_what_was_seen_revoked_before_the_restoration_stays_revoked(rig):
    """A kid that this cache has seen revoked is restored as revoked, whatever the contents say."""
    rig.cache.forget(KID, revoked=True)
    rig.cache.trust(0.0)
    rig.cache.restore(make_contents(RECORD, last_trusted=rig.clock.monotonic()))
    assert rig.cache.peek_stale(KID).status is Status.REVOKED


async def test_an_empty_cache_has_no_grace_left(rig):
    """An empty cache has no grace left."""
    assert rig.cache.grace_left == 0
    rig.cache.trust(0.0)
    assert rig.cache.grace_left == 0
