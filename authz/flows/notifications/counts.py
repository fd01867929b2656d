"""Counts of the delivery of events, which telemetry reads at any time."""

from enum import StrEnum


class Sent(StrEnum):
    """The result of one try to send an event."""

    DELIVERED = "delivered"
    FAILED = "failed"  # it is tried again
    DEAD = "dead"  # it was given up


class EventCounts:
    """Counts tries by result, and remembers by sink since when its next event waits."""

    def __init__(self) -> None:
        self.sent: dict[Sent, int] = dict.fromkeys(Sent, 0)
        self._waiting: dict[tuple[str, int], int] = {}

    def count(self, result: Sent) -> None:
        """Count a try."""
        self.sent[result] += 1

    def waits(self, sink: str, partition: int, since: int | None) -> None:
        """Remember the time of the oldest event that a sink lacks, in ms since the epoch.

        None: it has all. partition: of the trail with the event.
        """
        if since is None:
            self._waiting.pop((sink, partition), None)
        else:
            self._waiting[sink, partition] = since

    def lag_ms(self, now: int) -> int:
        """Return the age of the oldest event that a sink lacks; 0 if all have all. now: in ms."""
        return max(0, now - min(self._waiting.values(), default=now))
