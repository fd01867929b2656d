"""Replication: detects a primary that no replica follows.

An isolated primary still claims to be the primary and lists its replicas for a minute. But none of
them acknowledges new writes.

Rules:
1. Each heartbeat writes, then sends ROLE. So the primary's offset in the reply is newer than the
   heartbeat. A replica that acknowledges that offset was connected after the heartbeat was sent.
2. Offsets are compared only on the link that reported them. Another link may lead to another
   primary, whose offsets mean something else.
3. The first primary of a process is trusted at once and has `longest_alone` seconds to show a
   replica. A later one must show a replica before it is trusted, unless the previous one was
   followed less than `longest_alone` seconds ago.
4. All replicas of the link but one have to acknowledge, and at least one. A change waits for one
   (WAIT). Of N replicas one becomes the new primary, and N - 1 follow it or the old one. So the two
   cannot both have enough.
"""

from collections import deque
from typing import Any, Final

MAX_REPLICA_LAG: Final = 2.0  # seconds that an isolated primary takes writes, with max-lag 1
ACKNOWLEDGED_EVERY: Final = 1.0  # seconds; replicas acknowledge by themselves
_LATE: Final = 0.5  # seconds of tolerance for an acknowledgement
_MAX_PENDING: Final = 64  # heartbeats


def longest_alone(lease: float) -> float:
    """Return for how many seconds a primary without replicas may be trusted. lease: in seconds.

    Only heartbeats check it, so with a long lease it takes longer to notice. At least
    MAX_REPLICA_LAG.
    """
    return max(MAX_REPLICA_LAG, ACKNOWLEDGED_EVERY + _LATE + lease / 4)


class Replication:
    """Judges a primary by its replies to ROLE. All times and the lease are monotonic seconds."""

    def __init__(self, lease: float) -> None:
        self._longest_alone = longest_alone(lease)
        self._pending: deque[tuple[float, int]] = deque(maxlen=_MAX_PENDING)
        self._linked_at = 0.0
        self._replicas = 0  # the most that the link has shown
        self._followed_at: float | None = None

    def start(self, now: float) -> None:
        """Begin with a new link: forget the offsets of the old one. now: monotonic seconds.

        The first link of a process counts as followed now.
        """
        self._pending.clear()
        self._linked_at, self._replicas = now, 0
        if self._followed_at is None:
            self._followed_at = now

    def observe(self, sent: float, role: list[Any]) -> None:
        """Take the reply to the ROLE that was sent at `sent`.

        Without enough replicas nothing counts as acknowledged. Raises ValueError if the reply is
        not that of a primary.
        """
        try:
            offset = int(role[1])
            offsets = sorted((int(replica[2]) for replica in role[2]), reverse=True)
        except (TypeError, LookupError, OverflowError):
            raise ValueError("its answer to ROLE is not that of a primary") from None
        self._replicas = max(self._replicas, len(offsets))
        needed = max(1, self._replicas - 1)
        acknowledged = offsets[needed - 1] if len(offsets) >= needed else -1
        while self._pending and self._pending[0][1] <= acknowledged:
            self._followed_at, _ = self._pending.popleft()
        self._pending.append((sent, offset))

    def is_followed(self, now: float) -> bool:
        """Return whether a replica acknowledged a recent write.

        It was sent at most `longest_alone` seconds before `now`. The start of a process's first
        link counts as such a write.
        """
        return self._followed_at is not None and now - self._followed_at <= self._longest_alone

    def is_overdue(self, now: float) -> bool:
        """Return whether the link began more than `longest_alone` seconds before `now`.

        By then an acknowledgement should have been seen.
        """
        return now - self._linked_at > self._longest_alone
