"""A histogram in plain numbers, which telemetry reads at any time. Everything in it only grows."""

from bisect import bisect_left


class Histogram:
    """Count each value once: `counts[i]` has those above `bounds[i - 1]`, up to `bounds[i]`.

    The last entry of `counts` is the number of values above every bound. bounds: ascending. sum: of
    all values.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float, times: int = 1) -> None:
        """Count `value` `times` times, and add `value * times` to `sum`."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times
