"""ClockWatch: passes the store's clock on, and reports how far it is from ours."""

import logging

from authz.core.ports import Clock
from authz.core.store_clock import AGREED_MS, StoreClock

log = logging.getLogger("authz.clock")


class ClockWatch:
    """A ClockSink that passes each reading to a StoreClock.

    It logs when the difference of the clocks rises above AGREED_MS (1 s), and when it falls back.
    """

    def __init__(self, store_clock: StoreClock, clock: Clock) -> None:
        self._store_clock = store_clock
        self._clock = clock
        self._differs = False

    def measured(self, store_ms: int, sent: float, received: float) -> None:
        """Pass the reading on. Log once when the clocks begin or cease to differ by over AGREED_MS.

        store_ms: the store's clock, in ms since the epoch. sent, received: monotonic seconds at
        which it was requested and the reply arrived.
        """
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
        """The store's clock minus ours in seconds, positive if the store is ahead.

        None before a reading. The smallest difference that the last reading allows: 0 if it may be
        due to the round trip alone.
        """
        found = self._store_clock.offset(self._clock.wall_ms(), self._clock.monotonic())
        if found is None:
            return None
        return (max(found.low_ms, 0) + min(found.high_ms, 0)) / 1000
