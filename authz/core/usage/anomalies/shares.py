"""Shares of a key's requests: those that the gate refused, and those that failed.

A share is compared on the arcsine scale, on which its variance depends on the number of requests
alone (Anscombe 1948), with an exponentially weighted average of the same key on that scale.
"""

from array import array
from math import asin, sin, sqrt
from typing import Final

from authz.core.usage.anomalies.features import Feature, Reason
from authz.core.usage.anomalies.habits import AGE

LEARNING: Final = 168  # hours before the first alarm
FEWEST: Final = 20  # requests of an hour that is judged
BOUND: Final = 8.0  # deviations
GAIN: Final = 0.02
FIRST_GAIN: Final = 0.1  # in the hours of LEARNING
FAR: Final = 3.0


def judge_share(
    habits: "array[float]", feature: Feature, at: int, part: int, whole: int
) -> Reason | None:
    """Compare a share, learn from it, and return a reason if it is unusually large.

    feature, at: DENIED or ERRORS, and its position in habits. An hour with fewer than FEWEST
    requests is left out.
    """
    if whole < FEWEST:
        return None
    usual = habits[at]
    if not (part or usual):
        return None
    variance = habits[at + 1] or 1.0
    angle = asin(sqrt(part / whole))
    residual = 2.0 * sqrt(whole) * (angle - usual)
    deviations = residual / sqrt(variance)
    is_near = -FAR < deviations < FAR
    square = residual * residual if is_near else min(residual * residual, 16.0 * variance)
    gain = GAIN if is_near else 0.1 * GAIN
    variance += gain * (square - variance)
    habits[at + 1] = variance if variance > 1.0 else 1.0
    is_early = habits[AGE] < LEARNING
    habits[at] = usual + (FIRST_GAIN if is_early else gain) * (angle - usual)
    if deviations > BOUND and not is_early:
        return Reason(feature, part / whole, sin(usual) ** 2, deviations / BOUND)
    return None
