"""The delay of changes, from the store to this sidecar."""

from dataclasses import dataclass
from math import ceil
from typing import Final

from authz.core.histogram import Histogram

BOUNDS_MS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000)


@dataclass(frozen=True, slots=True)
class LagSummary:
    """Number of changes, and their lag in ms. Without changes all fields are 0.

    Quantiles are upper bounds of the histogram, at most the maximum.
    """

    count: int
    p50_ms: int
    p99_ms: int
    max_ms: int


class LagHistogram(Histogram):
    """Milliseconds from the moment the store accepts a change to the moment it is applied here.

    The two ends are the wall clocks of two machines, so their difference is part of each value. A
    change that seems to come from the future counts as 0.
    """

    __slots__ = ("max_ms",)

    def __init__(self) -> None:
        super().__init__(BOUNDS_MS)
        self.max_ms = 0

    def add(self, value: float, times: int = 1) -> None:
        """Count `times` changes that were each applied `value` milliseconds late.

        Negative counts as 0.
        """
        value = max(value, 0)
        super().add(value, times)
        self.max_ms = max(self.max_ms, round(value))

    def summary(self) -> LagSummary:
        """Return the count, two quantiles and the maximum in ms, for /readyz.

        All 0 without changes.
        """
        return LagSummary(sum(self.counts), self._quantile(0.5), self._quantile(0.99), self.max_ms)

    def _quantile(self, share: float) -> int:
        left = ceil(sum(self.counts) * share)
        for bound, count in zip(BOUNDS_MS, self.counts, strict=False):
            left -= count
            if left <= 0:
                return min(bound, self.max_ms)
        return self.max_ms
