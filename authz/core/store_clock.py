"""StoreClock: the store's clock as heartbeats showed it, beside our own wall clock.

Either clock may be wrong, and either may jump. A decision that depends on the time is made only if
both clocks lead to it: see `judge_within` in policy.py. The store's clock is extrapolated with the
monotonic clock, so a jump of our wall clock is noticed at once.

Nearly every decision is far from any turn of its record, and the clocks agree. `is_clear` says so
at the cost of a few comparisons, without a look at the monotonic clock.
"""

from typing import Final, NamedTuple

DRIFT_MS: Final = 1.0  # by which the clocks may drift apart in one second
AGREED_MS: Final = 1000  # clocks that differ by more are compared anew for each decision


class Window(NamedTuple):
    """The times that both clocks may show now, in milliseconds since the epoch, both included."""

    earliest: int
    latest: int


class ClockOffset(NamedTuple):
    """Bounds of the store's clock minus ours, in milliseconds."""

    low_ms: int
    high_ms: int


class StoreClock:
    """The store's clock, estimated from heartbeats. lease: the trust lease.

    Times that are floats are seconds, monotonic.
    """

    def __init__(self, lease: float) -> None:
        self._lease_ms = int(lease * (1000 + DRIFT_MS)) + 1
        self._at: float | None = None
        # Both clocks, if they agree, until a lease after the last heartbeat. Attributes: a hit of a
        # key whose turns all come later than `latest` costs no call.
        self.earliest = self.latest = 0
        self._low = self._high = 0.0  # the store's clock at `_at`, in ms since the epoch

    def measured(self, store_ms: int, sent: float, received: float) -> None:
        """Store a reading, in place of the one before, with its error: the round trip and 1 ms.

        The 1 ms is there because the store's time is cut to whole ms. store_ms: since the epoch.
        sent, received: monotonic seconds.
        """
        self._at = received
        self._low = store_ms
        self._high = store_ms + 1 + (received - sent) * 1000
        self.earliest = store_ms - AGREED_MS
        self.latest = int(self._high) + 1 + self._lease_ms + AGREED_MS

    def is_clear(self, turns: tuple[int, ...], wall_ms: int) -> bool:
        """Return whether both clocks agree and none of `turns` is near. For a trusted link only.

        False before the first heartbeat, and if the clocks differ by more than about 1 s. While the
        link is trusted the last heartbeat is at most a lease old. turns, wall_ms: milliseconds
        since the epoch.
        """
        earliest, latest = self.earliest, self.latest
        if not earliest <= wall_ms <= latest:
            return False
        for turn in turns:  # noqa: SIM110  all() makes a generator, which costs as much again
            if earliest < turn <= latest:
                return False
        return True

    def window(self, wall_ms: int, monotonic: float) -> Window:
        """Return the earliest and latest time that either clock may show now.

        Before the first heartbeat both are `wall_ms`. monotonic: now, in seconds.
        """
        if self._at is None:
            return Window(wall_ms, wall_ms)
        low, high = self._bounds(self._at, monotonic)
        return Window(min(wall_ms, low), max(wall_ms, high))

    def offset(self, wall_ms: int, monotonic: float) -> ClockOffset | None:
        """Return the bounds of the store's clock minus `wall_ms`; None before the first heartbeat.

        Positive if the store's clock is ahead. monotonic: now, in seconds.
        """
        if self._at is None:
            return None
        low, high = self._bounds(self._at, monotonic)
        return ClockOffset(low - wall_ms, high - wall_ms)

    def _bounds(self, at: float, monotonic: float) -> tuple[int, int]:
        elapsed = monotonic - at
        low = self._low + elapsed * (1000 - DRIFT_MS)
        high = self._high + elapsed * (1000 + DRIFT_MS)
        return int(low), int(high) + 1
