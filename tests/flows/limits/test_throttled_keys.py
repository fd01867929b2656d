"""A throttled key at the limiter: its rates are lower, and come back by themselves."""

import pytest

from authz.core.events import Event
from authz.core.limits.throttle import Throttle
from authz.core.store_clock import StoreClock
from tests.support.flows.limiter_rig import NOW, Rig


def limit_of(rig):
    """Spend for one request and return the limit that the store is asked for."""
    rig.spend()
    [counter] = rig.store.asked[-1][0].counters
    return counter.limit


async def test_a_throttle_ends_by_itself():
    """The same record has its whole rate again when the throttle is over."""
    rig = Rig("100/s", throttle=Throttle(25, NOW + 60_000))
    assert limit_of(rig) == 25
    rig.clock.advance(59.9)
    assert limit_of(rig) == 25
    rig.clock.advance(0.2)
    assert limit_of(rig) == 100


async def test_a_throttle_that_is_over():
    """A record with an old throttle has its whole rate."""
    assert limit_of(Rig("100/s", throttle=Throttle(25, NOW - 1))) == 100


async def test_a_lease_is_returned_at_the_end():
    """Units that were leased under the throttle go back to the store, and are not lost."""
    rig = Rig("100000/s", throttle=Throttle(25, NOW + 60_000))
    waiters = rig.lease(5)
    assert all(waiter.result().allowed for waiter in waiters)
    rig.clock.advance(61)
    rig.spend()
    returned = [asked[2] for asked in rig.store.asked]
    assert sum(returned) > 0
    assert not rig.probe.events[Event.LEASE_STRANDED]
    assert rig.store.asked[-1][0].counters[0].limit == 100_000


async def test_a_refusal_ends_with_the_throttle():
    """A key that was refused under the throttle asks the store again when it is over."""
    rig = Rig("4/min", throttle=Throttle(25, NOW + 1_000))
    rig.spend()
    rig.store.answer(0, 60_000_000)
    assert not rig.spend().allowed
    rig.clock.advance(1.1)
    assert limit_of(rig) == 4


@pytest.mark.parametrize("ours", [0, 86_400_000, -86_400_000])
async def test_a_throttle_ends_by_the_clock_of_the_store(ours):
    """A sidecar whose clock is a day ahead or behind keeps a throttle as long as the others."""
    store_clock = StoreClock(1.0)
    rig = Rig("100/s", throttle=Throttle(25, NOW + 60_000), store_clock=store_clock)
    store_clock.measured(NOW, rig.clock.monotonic(), rig.clock.monotonic())
    rig.clock.jump_wall(ours)
    assert limit_of(rig) == 25
    rig.clock.advance(60.2)
    assert limit_of(rig) == 100
