"""Crowd: how many sidecars share the store, and the pauses that follow from that number.

One sidecar may reconnect and acknowledge at once. A thousand that do so at the same moment delay
each other and every change. So each waits a random part of a time that grows with their number.
"""

import random
from typing import Any, Final

RECENT_MS: Final = 3_600_000  # an older place in the registry is that of a sidecar that crashed
MOST: Final = 10_000  # sidecars; a larger number is not believed
RECONNECT_EACH: Final = 0.0005  # seconds: all together open about 2,000 connections a second
ACKNOWLEDGE_EACH: Final = 0.0001  # seconds: all together write about 10,000 entries a second
ACKNOWLEDGE_MIN: Final = 0.020  # seconds


class Crowd:
    """The number of sidecars that wrote to the store's registry within RECENT_MS (1 h).

    It is that of the last reply; 0 before. links: how many of a kind each has to a node.
    """

    def __init__(self, links: int = 1) -> None:
        self.sidecars = 0
        self._links = links

    def note(self, reply: Any) -> None:
        """Take the reply to ZCOUNT. An error leaves the number as it is: the right may be missing.

        At most MOST (10,000) are counted: a writer of the store cannot delay a sidecar for longer.
        """
        if isinstance(reply, int):
            self.sidecars = max(0, min(reply, MOST))

    def reconnect_pause(self) -> float:
        """Return how many seconds to wait before an attempt to connect: 0 to 0.5 ms a link."""
        most = self.sidecars * self._links * RECONNECT_EACH
        return random.uniform(0, most)  # noqa: S311  jitter

    def acknowledge_pause(self) -> float:
        """Return the seconds between two acknowledgements: 0.1 ms a sidecar, at least 20 ms."""
        return max(ACKNOWLEDGE_MIN, self.sidecars * ACKNOWLEDGE_EACH)
