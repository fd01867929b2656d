"""Budgets against floods, and a bound on what is held."""

from typing import Final, NamedTuple

from authz.core.events import Event
from authz.core.ports import Probe
from authz.rpc.h2.frames import Code, ConnectionFault


class Allowance(NamedTuple):
    """How much of something a connection may do: at once, a second, and for each answered call."""

    burst: float
    per_second: float
    per_call: float

    def times(self, factor: float) -> "Allowance":
        """So many times as much."""
        return Allowance(*(factor * part for part in self))


ALLOWANCES: Final = {
    # Calls that ended early: a proxy whose clients give up sends many.
    Event.H2_RESET_FLOOD: Allowance(1000, 100, 1),
    # SETTINGS, PING, WINDOW_UPDATE, PRIORITY, CONTINUATION and unknown frames.
    Event.H2_CONTROL_FLOOD: Allowance(2000, 200, 4),
    # Frames without content that end nothing.
    Event.H2_EMPTY_FLOOD: Allowance(100, 10, 1),
}


class Budget:
    """What is left of an allowance."""

    __slots__ = ("_allowance", "_at", "_calls", "_left")

    def __init__(self, allowance: Allowance, now: float) -> None:
        self._allowance = allowance
        self._left: float = allowance.burst
        self._at = now
        self._calls = 0

    def spend(self, cost: int, now: float, calls: int) -> bool:
        """Whether there was enough left. `calls`: how many were answered so far."""
        burst, per_second, per_call = self._allowance
        earned = (now - self._at) * per_second + (calls - self._calls) * per_call
        self._at, self._calls = now, calls
        self._left = min(burst, self._left + earned) - cost
        return self._left >= 0


class Hold:
    """Memory for requests that came in part, shared by all connections.

    A connection may hold as much as is still free, so that one that takes all it can get leaves
    as much to the others.
    """

    __slots__ = ("_free",)

    def __init__(self, limit: int) -> None:
        self._free = limit

    def take(self, held: int, more: int) -> bool:
        """Take `more` for a connection that holds `held`; whether that was granted."""
        if held + more > self._free:
            return False
        self._free -= more
        return True

    def give(self, size: int) -> None:
        """Give memory back."""
        self._free += size


class FloodBudgets:
    """What a connection may still do without asking anything. Raises ConnectionFault at the end.

    tolerance: times the allowances.
    """

    __slots__ = ("_budgets", "_probe", "answered", "now")

    def __init__(self, probe: Probe, now: float, tolerance: float = 1.0) -> None:
        self._probe = probe
        self._budgets = {
            event: Budget(allowed.times(tolerance), now) for event, allowed in ALLOWANCES.items()
        }
        self.now = now
        self.answered = 0

    def spend(self, event: Event, cost: int = 1) -> None:
        """Something happened that may be a flood."""
        if not self._budgets[event].spend(cost, self.now, self.answered):
            self._probe.count(event)
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, event.value)
