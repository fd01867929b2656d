"""Histogram: counts of values by upper bound, as plain numbers that telemetry reads at any time."""

from bisect import bisect_left
from math import ceil


class Histogram:
    """`counts[i]` counts values up to `bounds[i]`; the last count is for values above all bounds.

    Nothing in it ever decreases. `max` is the largest value so far, at least 0.
    """

    __slots__ = ("bounds", "counts", "max", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0
        self.max = 0.0

    def add(self, value: float, times: int = 1) -> None:
        """Count `value`, `times` times."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times
        self.max = max(self.max, value)

    def quantile(self, share: float) -> float:
        """Return an upper bound of the quantile: the bound of its step, and at most `max`."""
        left = ceil(sum(self.counts) * share)
        for bound, count in zip(self.bounds, self.counts, strict=False):
            left -= count
            if left <= 0:
                return min(bound, self.max)
        return self.max
