"""ClockWatch: passes the store's clock on, and reports how far it is from ours."""

import logging

from authz.core.ports import Clock
from authz.core.store_clock import AGREED_MS, StoreClock

log = logging.getLogger("authz.clock")


class ClockWatch:
    """A ClockSink around a StoreClock. It logs when the two clocks begin and cease to differ."""

    def __init__(self, store_clock: StoreClock, clock: Clock) -> None:
        self._store_clock = store_clock
        self._clock = clock
        self._differs = False

    def measured(self, store_ms: int, sent: float, received: float) -> None:
        """Pass the reading on. Log when the clocks begin or cease to differ by AGREED_MS."""
        self._store_clock.measured(store_ms, sent, received)
        offset = self.offset
        differs = offset is not None and abs(offset) * 1000 > AGREED_MS
        if differs == self._differs:
            return
        self._differs = differs
        if differs and offset is not None:
            direction = "ahead of" if offset > 0 else "behind"
            log.warning(
                "the store's clock is %.1f s %s ours; requests that the two clocks would decide "
                "differently get 503; run NTP on both machines",
                abs(offset),
                direction,
            )
        else:
            log.info("the store's clock and ours agree")

    @property
    def offset(self) -> float | None:
        """The store's clock minus ours in seconds, None before the first heartbeat.

        0 if the difference is within the round trip of the last heartbeat.
        """
        found = self._store_clock.offset(self._clock.wall_ms(), self._clock.monotonic())
        if found is None:
            return None
        return (max(found.low_ms, 0) + min(found.high_ms, 0)) / 1000
