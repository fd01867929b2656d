"""Shares of a key's requests: those that the gate refused, and those that failed.

A share is compared on the arcsine scale, on which its variance depends on the number of requests
alone (Anscombe 1948), with an exponentially weighted average of the same key.
"""

from array import array
from math import asin, sqrt
from typing import Final

from authz.core.usage.anomalies.features import Feature, Reason
from authz.core.usage.anomalies.habits import AGE, DENIED, ERRORS

LEARNING: Final = 168  # hours before the first alarm
FEWEST: Final = 20  # requests of an hour that is judged
BOUND: Final = 8.0  # deviations
GAIN: Final = 0.02
FIRST_GAIN: Final = 0.1  # in the hours of LEARNING
FAR: Final = 3.0
_POSITIONS: Final = {Feature.DENIED: DENIED, Feature.ERRORS: ERRORS}


def judge_share(habits: "array[float]", feature: Feature, part: int, whole: int) -> Reason | None:
    """Compare a share, learn from it, and return a reason if it is unusually large.

    feature: DENIED or ERRORS. An hour with fewer than FEWEST requests is left out.
    """
    if whole < FEWEST:
        return None
    at = _POSITIONS[feature]
    usual, variance = habits[at], max(1.0, habits[at + 1])
    share = part / whole
    deviations = 0.0
    if part or usual:
        residual = 2.0 * sqrt(whole) * (asin(sqrt(share)) - asin(sqrt(usual)))
        deviations = residual / sqrt(variance)
        weight = 1.0 if -FAR < deviations < FAR else 0.1
        square = min(residual * residual, 16.0 * variance)
        habits[at + 1] = max(1.0, variance + GAIN * weight * (square - variance))
        gain = FIRST_GAIN if habits[AGE] < LEARNING else GAIN * weight
        habits[at] = usual + gain * (share - usual)
    if deviations > BOUND and habits[AGE] >= LEARNING:
        return Reason(feature, share, usual, deviations / BOUND)
    return None
