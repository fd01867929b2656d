"""Gaps: the numbers of changes that have no entry, as ranges."""

from collections.abc import Iterator


class Gaps:
    """Ranges of numbers in order. Iterating gives each as (first, last), both included."""

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int]] = []

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self._ranges)

    def __contains__(self, number: int) -> bool:
        return any(first <= number <= last for first, last in self._ranges)

    def add(self, first: int, last: int) -> None:
        """Add a range above all others, both ends included; nothing if `last` is below `first`."""
        if first <= last:
            self._ranges.append((first, last))

    def has_after(self, number: int) -> bool:
        """Return whether a number above this one is in a gap."""
        return any(last > number for _, last in self._ranges)

    def fill(self, first: int, last: int) -> None:
        """Remove the numbers from `first` to `last` from the gaps, both included."""
        kept: list[tuple[int, int]] = []
        for start, end in self._ranges:
            if end < first or start > last:
                kept.append((start, end))
                continue
            kept += [(start, first - 1)] if start < first else []
            kept += [(last + 1, end)] if end > last else []
        self._ranges = kept

    def fill_first(self, count: int) -> None:
        """Remove the lowest `count` numbers from the gaps; all, if there are fewer."""
        for first, last in list(self._ranges):
            taken = min(count, last - first + 1)
            if taken:
                self.fill(first, first + taken - 1)
            count -= taken
