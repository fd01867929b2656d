"""Counters: what happens in the sidecar, in plain integers that telemetry reads at any time."""

from collections import Counter

from authz.core.decision import Reason
from authz.core.ports import Event


class Counters:
    """A Probe in plain integers."""

    def __init__(self) -> None:
        self.allowed = 0
        self.denied: dict[Reason, int] = dict.fromkeys(Reason, 0)
        self.events: dict[Event, int] = dict.fromkeys(Event, 0)

    def decided(self, reason: Reason | None) -> None:
        """See Probe."""
        if reason is None:
            self.allowed += 1
        else:
            self.denied[reason] += 1

    def count(self, event: Event) -> None:
        """See Probe."""
        self.events[event] += 1

    def snapshot(self) -> dict[str, int]:
        """Every count that is not zero, by name."""
        named = Counter({"allowed": self.allowed})
        named.update({f"denied.{reason.value}": n for reason, n in self.denied.items()})
        named.update({event.value: n for event, n in self.events.items()})
        return {name: n for name, n in named.items() if n}
