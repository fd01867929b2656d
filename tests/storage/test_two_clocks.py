"""Decisions of a sidecar whose clock differs from that of a real store."""

import inspect

import pytest

from authz.core.decision import Allow, Reason
from authz.flows.check import Checker
from tests.support.changes import change_to
from tests.support.fakes import RecordingProbe, issue_record, make_keyring, make_request
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
        """Implement Clock.wall_ms."""
        return super().wall_ms() + self.ahead


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
