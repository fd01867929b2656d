"""The store's clock, as heartbeats measure it on a real store, beside a sidecar's clock."""

import inspect

import pytest

from authz.core.decision import Allow, Reason
from authz.core.store_clock import StoreClock
from authz.flows.check import Checker
from authz.storage.clock_watch import ClockWatch
from tests.support.changes import change_to
from tests.support.fakes import FakeClock, RecordingProbe, issue_record, make_keyring, make_request
from tests.support.flows.rigs import Vouched
from tests.support.real import RealClock
from tests.support.storage.sidecar import Sidecar

RING = make_keyring()
DAY = 86_400_000


class WrongClock(RealClock):
    """A clock that is off by some milliseconds."""

    def __init__(self, ahead):
        super().__init__()
        self.ahead = ahead

    def wall_ms(self):
        """See Clock."""
        return super().wall_ms() + self.ahead


@pytest.mark.parametrize("ahead", [-DAY, 0, 100 * DAY])
@pytest.mark.usefixtures("admin")
async def test_heartbeats_measure_the_stores_clock(valkey, ahead):
    """The bounds of the offset hold the true one, and are as wide as the round trip."""
    clock = WrongClock(ahead)
    async with Sidecar(valkey.endpoint, clock=clock) as sidecar:
        await sidecar.trusted()
        offset = sidecar.store_clock.offset(clock.wall_ms(), clock.monotonic())
    assert offset.low_ms - 2 <= -ahead <= offset.high_ms + 2
    assert offset.high_ms - offset.low_ms < 1000


@pytest.mark.parametrize(
    ("ahead", "life", "reason"),
    [
        (0, 10 * DAY, None),
        (0, -10 * DAY, Reason.EXPIRED),
        (-100 * DAY, 10 * DAY, None),
        (-100 * DAY, -10 * DAY, Reason.UNAVAILABLE),
        (100 * DAY, 10 * DAY, Reason.UNAVAILABLE),
        (100 * DAY, -10 * DAY, Reason.EXPIRED),
    ],
)
async def test_a_wrong_clock_decides_nothing(valkey, admin, ahead, life, reason):
    """If our clock and the store's disagree about an expiry, the decision is UNAVAILABLE."""
    now = RealClock().wall_ms()
    record, text = issue_record(RING, created_at=now - 20 * DAY, expires_at=now + life)
    await admin.store.apply(change_to(record))
    async with Sidecar(valkey.endpoint, clock=WrongClock(ahead), keyring=RING) as sidecar:
        checker = Checker(
            sidecar.cache,
            Vouched(),
            sidecar.clock,
            RecordingProbe(),
            store_clock=sidecar.store_clock,
        )
        await sidecar.find(record.kid)
        decision = checker.check(make_request(credential=RING.parse(text)))
        if inspect.isawaitable(decision):
            decision = await decision
    assert (None if isinstance(decision, Allow) else decision.reason) is reason


def test_a_difference_is_logged_once(caplog):
    """One line says that the clocks differ, and one that they agree again."""
    clock = FakeClock()
    caplog.set_level("INFO")
    watch = ClockWatch(StoreClock(1.0), clock)
    for ahead in (0, 900, 5000, 5000, -5000, 0, 0):
        now = clock.monotonic()
        watch.measured(clock.wall_ms() + ahead, now, now)
    assert [record.getMessage() for record in caplog.records] == [
        (
            "the store's clock is +5.0 s from ours: keys whose times lie between are answered 503; "
            "set both machines' clocks by NTP"
        ),
        "the store's clock and ours agree again",
    ]
