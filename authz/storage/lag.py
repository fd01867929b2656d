"""The delay between a change in the store and its being applied by this sidecar."""

from dataclasses import dataclass
from typing import Final

from authz.core.histogram import Histogram

BOUNDS_MS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000)


@dataclass(frozen=True, slots=True)
class LagSummary:
    """Figures for readiness. A quantile is the upper bound of its step in the histogram."""

    count: int
    p50_ms: int
    p99_ms: int
    max_ms: int


def summary(lag: Histogram) -> LagSummary:
    """Return the figures of a histogram of milliseconds."""
    quantiles = lag.quantile(0.5), lag.quantile(0.99), lag.max
    return LagSummary(sum(lag.counts), *map(int, quantiles))
