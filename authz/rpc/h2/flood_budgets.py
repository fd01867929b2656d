"""Budgets against floods: how many frames a client may send that are not calls.

A client that uses up a budget is disconnected, unless it is trusted. A trusted client is a proxy
that sends the requests of many others on one connection: one of them can cause a flood of resets,
and a disconnect would fail the requests of all. So its frames over the budget only cost it time.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

from authz.core.events import Event
from authz.core.ports import Probe
from authz.rpc.h2.frames import ConnectionFault, ErrorCode


class BudgetSize(NamedTuple):
    """Units of a budget: at once, per second, and for each call that was answered."""

    burst: float
    per_second: float
    per_call: float

    def times(self, factor: float) -> "BudgetSize":
        """Return a size with each of its three numbers multiplied by `factor`."""
        return BudgetSize(*(factor * part for part in self))


SECONDS_PER_UNIT: Final = 1 / 50_000  # of a trusted client's pause, for each unit that is missing
TURN_UNITS: Final = 128  # that end a turn; of about 30 us at most
MIN_PAUSE: Final = 0.001  # seconds; a timer's resolution
MAX_PAUSE: Final = 0.1

BUDGET_SIZES: Final = {
    # Calls that ended early. A proxy whose clients give up sends many.
    Event.H2_RESET_FLOOD: BudgetSize(1000, 100, 1),
    # SETTINGS, PING, WINDOW_UPDATE, PRIORITY, CONTINUATION and unknown frames.
    Event.H2_CONTROL_FLOOD: BudgetSize(2000, 200, 4),
    # Frames without content that end nothing.
    Event.H2_EMPTY_FLOOD: BudgetSize(100, 10, 1),
}


class FloodBudget:
    """One budget of one connection: a token bucket that time and answered calls fill."""

    __slots__ = ("_at", "_calls", "_left", "_size")

    def __init__(self, size: BudgetSize, now: float) -> None:
        self._size = size
        self._left: float = size.burst
        self._at = now
        self._calls = 0

    def spend(self, cost: int, now: float, calls: int) -> float:
        """Take `cost` units. Return how many were missing: 0 if there were enough.

        Before that, add the units earned since the last call, up to `burst`. If units are missing,
        the budget is left at 0. now: seconds. calls: answered on the connection so far.
        """
        burst, per_second, per_call = self._size
        earned = (now - self._at) * per_second + (calls - self._calls) * per_call
        self._at, self._calls = now, calls
        left = min(burst, self._left + earned) - cost
        self._left = max(left, 0.0)
        return self._left - left


class FloodBudgets:
    """The budgets of one connection. Its owner keeps `now` (seconds) and `answered` up to date.

    tolerance: factor on every size. trusted: slow the client down instead of disconnecting it.
    """

    __slots__ = ("_budgets", "_frames", "_probe", "_spent", "_trusted", "answered", "now", "pause")

    def __init__(
        self, probe: Probe, now: float, tolerance: float = 1.0, *, trusted: bool = False
    ) -> None:
        self._probe = probe
        self._trusted = trusted
        self._budgets = {
            event: FloodBudget(size.times(tolerance), now) for event, size in BUDGET_SIZES.items()
        }
        self.now = now
        self.answered = 0  # calls
        self._spent = 0  # units of all budgets in this turn
        self._frames: Iterator[int] = iter(())  # that are left of this turn
        self.pause = 0.0  # seconds for which a trusted client is not to be read

    def begin_turn(self, frames: int) -> Iterator[int]:
        """Return an iterator of at most `frames` items: one for each frame that is to be read.

        It ends early, after TURN_UNITS (128) units are spent. So the reader asks nobody whether its
        turn is over.
        """
        self._spent, self._frames = 0, iter(range(frames))
        return self._frames

    def spend(self, event: Event, cost: int = 1) -> None:
        """Take `cost` units from the budget of this event. Does no more if there were enough.

        If units are missing, a trusted client's `pause` grows by 20 µs for each. For other clients
        ConnectionFault with ENHANCE_YOUR_CALM is raised. The event is counted, but only once a
        pause.
        """
        self._spent += cost
        if self._spent >= TURN_UNITS:
            deque(self._frames, maxlen=0)
        missing = self._budgets[event].spend(cost, self.now, self.answered)
        if not missing:
            return
        if not self.pause:
            self._probe.count(event)
        if not self._trusted:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, event.value)
        self.pause += missing * SECONDS_PER_UNIT

    def take_pause(self) -> float:
        """Return the pause in seconds, at most MAX_PAUSE (0.1 s), and set it to 0."""
        pause, self.pause = min(self.pause, MAX_PAUSE), 0.0
        return pause
