"""Replication: is the primary followed? Has a replica what it was given not long ago?

A primary that was cut off from its replicas says that it is the primary, and lists them for a
minute. What it cannot do is have them acknowledge anything new.

Rules:
1. Asked with ROLE, behind a write of the same heartbeat: so the offset in the answer is one that
   moved after that heartbeat was sent, and who acknowledges it was in touch after that.
2. What is not acknowledged yet is compared on the link that it was asked on. Another link may lead
   to another primary, whose offsets mean something else.
3. The first primary that a process is led to has its time to show it; every other has to show it
   before it is trusted, unless the one before it did so just now.
"""

from collections import deque
from typing import Any, Final

MAX_REPLICA_LAG: Final = 2.0  # seconds that a primary goes on alone, with min-replicas-max-lag 1
ACKNOWLEDGED_EVERY: Final = 1.0  # seconds; a replica does so by itself
_LATE: Final = 0.5  # seconds that this may take longer
_MAX_PENDING: Final = 64  # heartbeats


def longest_alone(lease: float) -> float:
    """Seconds for which a primary may be trusted that nobody follows.

    Whether it is followed is seen at a heartbeat, so with long leases it takes longer to see.
    """
    return max(MAX_REPLICA_LAG, ACKNOWLEDGED_EVERY + _LATE + lease / 4)


class Replication:
    """Looks at what a primary answers to ROLE. Times are seconds by the monotonic clock."""

    def __init__(self, lease: float) -> None:
        self._most = longest_alone(lease)
        self._pending: deque[tuple[float, int]] = deque(maxlen=_MAX_PENDING)
        self._linked_at = 0.0
        self._followed_at: float | None = None

    def link(self, now: float) -> None:
        """A new link was made."""
        self._pending.clear()
        self._linked_at = now
        if self._followed_at is None:
            self._followed_at = now

    def look(self, sent: float, role: list[Any]) -> bool:
        """Is it followed, by its answer to the ROLE that was sent then? Raises ValueError."""
        try:
            offset = int(role[1])
            acknowledged = max((int(replica[2]) for replica in role[2]), default=-1)
        except (TypeError, LookupError):
            raise ValueError("its answer to ROLE is none of a primary") from None
        while self._pending and self._pending[0][1] <= acknowledged:
            self._followed_at, _ = self._pending.popleft()
        self._pending.append((sent, offset))
        return self._followed_at is not None and sent - self._followed_at <= self._most

    def had_its_time(self, now: float) -> bool:
        """Would it have been seen on this link by now?"""
        return now - self._linked_at > self._most
