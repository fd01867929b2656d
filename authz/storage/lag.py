"""How late changes are applied here, in plain numbers that telemetry can read at any time."""

from bisect import bisect_left
from dataclasses import dataclass
from math import ceil
from typing import Final

BOUNDS_MS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000)


@dataclass(frozen=True, slots=True)
class LagSummary:
    """The quantiles are the upper bounds of the histogram's steps; beyond the last, the maximum."""

    count: int
    p50_ms: int
    p99_ms: int
    max_ms: int


class LagHistogram:
    """Milliseconds from the store's taking a change to its being applied here.

    The two ends are the wall clocks of two machines, so what they differ by shows in it; a change
    that seems to come from the future counts as 0. `counts[i]` has those up to `BOUNDS_MS[i]`, its
    last step those beyond. Everything in it only grows.
    """

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_MS) + 1)
        self.sum_ms = 0
        self.max_ms = 0

    def add(self, ms: int) -> None:
        """One more change was applied, this late."""
        ms = max(ms, 0)
        self.counts[bisect_left(BOUNDS_MS, ms)] += 1
        self.sum_ms += ms
        self.max_ms = max(self.max_ms, ms)

    def summary(self) -> LagSummary:
        """What a person wants to see of it."""
        return LagSummary(sum(self.counts), self._quantile(0.5), self._quantile(0.99), self.max_ms)

    def _quantile(self, share: float) -> int:
        left = ceil(sum(self.counts) * share)
        for bound, count in zip(BOUNDS_MS, self.counts, strict=False):
            left -= count
            if left <= 0:
                return min(bound, self.max_ms)
        return self.max_ms
