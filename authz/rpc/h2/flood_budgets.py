"""Budgets against floods: how many frames a client may send that are not calls."""

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
        """Return a size that is so many times as large."""
        return BudgetSize(*(factor * part for part in self))


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

    def spend(self, cost: int, now: float, calls: int) -> bool:
        """Take `cost` units. Return whether there were enough.

        calls: how many calls of the connection have been answered so far.
        """
        burst, per_second, per_call = self._size
        earned = (now - self._at) * per_second + (calls - self._calls) * per_call
        self._at, self._calls = now, calls
        self._left = min(burst, self._left + earned) - cost
        return self._left >= 0


class FloodBudgets:
    """The budgets of one connection.

    tolerance: factor on every size.
    """

    __slots__ = ("_budgets", "_probe", "answered", "now")

    def __init__(self, probe: Probe, now: float, tolerance: float = 1.0) -> None:
        self._probe = probe
        self._budgets = {
            event: FloodBudget(size.times(tolerance), now) for event, size in BUDGET_SIZES.items()
        }
        self.now = now
        self.answered = 0  # calls

    def spend(self, event: Event, cost: int = 1) -> None:
        """Pay for frames that may be part of a flood.

        Raises ConnectionFault with ENHANCE_YOUR_CALM if the budget of the event is used up.
        """
        if not self._budgets[event].spend(cost, self.now, self.answered):
            self._probe.count(event)
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, event.value)
