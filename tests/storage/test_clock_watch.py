"""The store's clock reaches the StoreClock with every heartbeat, and a wrong clock is reported."""

import logging

import pytest

from authz.core.store_clock import StoreClock
from authz.storage.clock_watch import ClockWatch
from authz.storage.feed import ChangeFeed
from tests.support.fakes import NOW, FakeClock, make_keyring
from tests.support.real import RealClock, eventually
from tests.support.storage.sidecar import LEASE, Sidecar
from tests.support.storage.users import restrict


class SkewedClock(RealClock):
    """A clock that is wrong by `offset_ms`."""

    def __init__(self, offset_ms):
        self.offset_ms = offset_ms

    def wall_ms(self):
        """Implement Clock.wall_ms."""
        return super().wall_ms() + self.offset_ms


@pytest.mark.parametrize("offset_ms", [0, 60_000, -86_400_000])
async def test_a_real_store(valkey, admin, offset_ms):
    """A heartbeat measures the offset of the store's clock, to within its round trip."""
    sidecar = Sidecar(valkey.endpoint)
    clock = SkewedClock(offset_ms)
    sidecar.feed = ChangeFeed(
        valkey.endpoint,
        clock,
        sidecar.probe,
        lease=LEASE,
        fingerprints=make_keyring().fingerprints,
        store_clock=StoreClock(LEASE),
    )
    assert sidecar.feed.clock_offset is None
    async with sidecar:
        await sidecar.trusted()
        await eventually(lambda: abs(sidecar.feed.clock_offset * 1000 + offset_ms) < 500)
        assert sidecar.feed.health().clock_offset is not None


async def test_trust_needs_the_clock(valkey, admin):
    """A sidecar whose user may not read the store's clock is not trusted."""
    async with Sidecar(restrict(valkey, without="time")) as sidecar:
        await eventually(lambda: "time" in sidecar.reason.lower())
        assert not sidecar.is_trusted


def test_a_wrong_clock_is_logged_once(caplog):
    """The log says when the clocks begin to differ and when they agree again."""
    caplog.set_level(logging.INFO)
    clock = FakeClock()
    watch = ClockWatch(StoreClock(1.0), clock)
    for offset in (0, 12_300, 12_300, -5_000, 0, 0):
        now = clock.monotonic()
        watch.measured(clock.wall_ms() + offset, now, now)
        clock.advance(0.001)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert messages[0].startswith("the store's clock is 12.3 s ahead of ours; ")
    assert messages[1] == "the store's clock and ours agree"
    assert clock.wall_ms() > NOW - 1


def test_the_round_trip_is_no_offset():
    """A difference that the round trip explains counts as 0."""
    clock = FakeClock()
    watch = ClockWatch(StoreClock(10.0), clock)
    sent = clock.monotonic()
    reading = clock.wall_ms()
    clock.advance(2)
    watch.measured(reading, sent, clock.monotonic())
    assert watch.offset == 0
