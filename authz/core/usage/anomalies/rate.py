"""The rate of a key: its requests in an hour, compared with its own day and week.

The expected number is a level (an exponentially weighted average) times the profile of the hour of
the day times that of the day of the week. The residual is taken on the scale of square roots, on
which a Poisson count has a constant variance (Anscombe 1948), and divided by its own deviation. One
large residual (Shewhart) or a sum of small ones (CUSUM, Page 1954) is an alarm. The bounds were
found by simulation: `python -m tests.bench.anomalies` prints recall and false alarms.

Bounds are conditions, because a call of `max` takes as long as several steps of the calculation.
"""

from array import array
from math import sqrt
from typing import Final

from authz.core.usage.anomalies.features import Feature, Reason
from authz.core.usage.anomalies.habits import (
    ABOVE,
    AGE,
    BELOW,
    DAY,
    DAY_HOURS,
    LEVEL,
    VARIANCE,
    WEEK,
    WEEK_DAYS,
)

WEEK_HOURS: Final = 168
LEARNING: Final = 2 * WEEK_HOURS  # hours before the first alarm
SHEWHART: Final = 7.0  # deviations of one hour
CUSUM: Final = 24.0  # deviations, summed
SILENT: Final = 40.0
SLACK: Final = 0.5  # deviations that are usual
MOST: Final = 6.0  # that one hour adds to a sum
LEAST: Final = 0.05  # of a level, an expectation and a profile
FAR: Final = 3.0  # deviations; beyond them an hour teaches little
STEEP: Final = 20.0  # times the profile


def judge_rate(habits: "array[float]", hour: int, count: int) -> Reason | None:
    """Compare the requests of an hour, learn from them, and return a reason if they are unusual."""
    age = habits[AGE]
    if age < DAY_HOURS:  # the level begins as the average of the first day
        habits[LEVEL] += (max(1.0, count) - habits[LEVEL]) / (age + 1.0)
        return None
    day, week = DAY + hour % DAY_HOURS, WEEK + hour // DAY_HOURS % WEEK_DAYS
    level, of_day, of_week = habits[LEVEL], habits[day], habits[week]
    variance = habits[VARIANCE]
    expected = level * of_day * of_week
    expected = expected if expected > LEAST else LEAST
    residual = 2.0 * (sqrt(count + 0.375) - sqrt(expected + 0.375))
    deviations = residual / sqrt(variance)
    found = None if age < WEEK_HOURS else _add_to_sums(habits, count, expected, deviations)
    is_early = age < LEARNING
    is_near = -FAR < deviations < FAR
    square = residual * residual if is_near else min(residual * residual, 16.0 * variance)
    weight = 1.0 if is_early or is_near else 0.1
    variance += 0.01 * weight * (square - variance)
    habits[VARIANCE] = variance if variance > 1.0 else 1.0
    gain = (0.2 if age < WEEK_HOURS else 0.01) * weight
    level += gain * (count / (of_day * of_week) - level)
    habits[LEVEL] = level = level if level > LEAST else LEAST
    gain = (0.3 if is_early else 0.08) * weight
    of_day += gain * (_ratio(count, level * of_week) - of_day)
    habits[day] = of_day = of_day if of_day > LEAST else LEAST
    gain = (0.05 if is_early else 0.02) * weight
    of_week += gain * (_ratio(count, level * of_day) - of_week)
    habits[week] = of_week if of_week > LEAST else LEAST
    return None if is_early else found


def _add_to_sums(
    habits: "array[float]", count: int, expected: float, deviations: float
) -> Reason | None:
    """Add an hour to the sums, and return a reason if it or a sum is beyond its bound."""
    change = deviations
    if not -MOST < change < MOST:
        change = MOST if change > 0.0 else -MOST
    above = habits[ABOVE] + change - SLACK
    below = habits[BELOW] - change - SLACK
    habits[ABOVE] = above = above if above > 0.0 else 0.0
    habits[BELOW] = below = below if below > 0.0 else 0.0
    if deviations > SHEWHART or above > CUSUM:
        habits[ABOVE] = 0.0
        strength = max(deviations / SHEWHART, above / CUSUM)
        return Reason(Feature.RATE, count, expected, strength)
    if below > SILENT:
        habits[BELOW] = 0.0
        return Reason(Feature.SILENCE, count, expected, below / SILENT)
    return None


def _ratio(count: int, usual: float) -> float:
    """Return how many times as many requests as usual an hour has, up to STEEP."""
    ratio = count / (usual if usual > LEAST else LEAST)
    return ratio if ratio < STEEP else STEEP
