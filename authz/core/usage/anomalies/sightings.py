"""Sightings: which networks and families of user agents a key was seen with, and in which hours.

lua/commit_usage.lua does the same in the store; a test compares both.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

MEMORY: Final = 8  # hours that are told apart, up to the last one
MOST: Final = 16  # of a kind in one hour; further ones are not kept
KEPT: Final = 40  # of a kind; the one that was not seen for the longest time makes room


class Seen(NamedTuple):
    """The hours of a caller, since the epoch. recent: bit n is set if it was seen at `last` - n."""

    first: int
    last: int
    recent: int

    def at(self, hour: int) -> bool:
        """Return whether it was seen in this hour, if that is at most 7 before `last`."""
        back = self.last - hour
        return 0 <= back < MEMORY and bool(self.recent >> back & 1)


class Sightings:
    """The callers of one kind, networks or families, of one key."""

    def __init__(self, seen: dict[str, Seen] | None = None) -> None:
        self.seen = {} if seen is None else seen
        self._full = -1  # an hour with MOST of them

    def see(self, hour: int, names: Iterable[str]) -> None:
        """Remember that these were seen in an hour. Another order of the hours gives the same."""
        for name in names:
            found = self.seen.get(name)
            if found is None:
                if self._full != hour and sum(one.at(hour) for one in self.seen.values()) >= MOST:
                    self._full = hour
                if self._full == hour:
                    continue
                if len(self.seen) >= KEPT:
                    del self.seen[min(self.seen, key=lambda one: (self.seen[one].last, one))]
                self.seen[name] = Seen(hour, hour, 1)
            elif hour > found.last:
                moved = found.recent << (hour - found.last) & (1 << MEMORY) - 1
                self.seen[name] = Seen(found.first, hour, moved | 1)
            elif found.last - hour < MEMORY:
                recent = found.recent | 1 << (found.last - hour)
                self.seen[name] = Seen(min(found.first, hour), found.last, recent)

    def at(self, hour: int) -> list[str]:
        """Return the callers of an hour."""
        return [name for name, seen in self.seen.items() if seen.at(hour)]

    def is_new(self, name: str, hour: int) -> bool:
        """Return whether a caller was not seen before this hour."""
        return self.seen[name].first >= hour
