"""ClockWatch: passes the store's time on, and logs when the clocks begin or cease to differ."""

import logging
from typing import Final

from authz.core.ports import Clock
from authz.core.store_clock import StoreClock

log = logging.getLogger("authz.store")

LOGGED_MS: Final = 1000  # a smaller difference is not logged


class ClockWatch:
    """A ClockSink in front of a StoreClock. It logs each change from agreement to difference."""

    def __init__(self, store_clock: StoreClock, clock: Clock) -> None:
        self._store_clock = store_clock
        self._clock = clock
        self._differ = False

    def measured(self, store_ms: int, sent: float, received: float) -> None:
        """See ClockSink."""
        self._store_clock.measured(store_ms, sent, received)
        offset = self._store_clock.offset(self._clock.wall_ms(), received)
        if offset is None:
            return
        differ = offset.low_ms > LOGGED_MS or offset.high_ms < -LOGGED_MS
        if differ and not self._differ:
            seconds = (offset.low_ms + offset.high_ms) / 2000
            log.error(
                "the store's clock is %+.1f s from ours: keys whose times lie between are "
                "answered 503; set both machines' clocks by NTP",
                seconds,
            )
        elif self._differ and not differ:
            log.info("the store's clock and ours agree again")
        self._differ = differ
