"""The rate of a key: its requests in an hour, compared with its own day and week.

The expected number is a level (an exponentially weighted average) times the profile of the hour of
the day times that of the day of the week. The residual is taken on the scale of square roots, on
which a Poisson count has a constant variance (Anscombe 1948), and divided by its own deviation. One
large residual (Shewhart) or a sum of small ones (CUSUM, Page 1954) is an alarm. The bounds were
found by simulation: `python -m tests.bench.anomalies` prints recall and false alarms.
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
    expected = max(LEAST, level * of_day * of_week)
    residual = 2.0 * (sqrt(count + 0.375) - sqrt(expected + 0.375))
    deviations = residual / sqrt(variance)
    found = None
    if age >= WEEK_HOURS:
        bounded = max(-MOST, min(MOST, deviations))
        habits[ABOVE] = above = max(0.0, habits[ABOVE] + bounded - SLACK)
        habits[BELOW] = below = max(0.0, habits[BELOW] - bounded - SLACK)
        if deviations > SHEWHART or above > CUSUM:
            strength = max(deviations / SHEWHART, above / CUSUM)
            found = Reason(Feature.RATE, count, expected, strength)
            habits[ABOVE] = 0.0
        elif below > SILENT:
            found = Reason(Feature.SILENCE, count, expected, below / SILENT)
            habits[BELOW] = 0.0
    is_early = age < LEARNING
    weight = 1.0 if is_early or -FAR < deviations < FAR else 0.1
    gain = (0.2 if age < WEEK_HOURS else 0.01) * weight
    level = max(LEAST, level + gain * (count / (of_day * of_week) - level))
    gain = (0.3 if is_early else 0.08) * weight
    ratio = min(count / max(LEAST, level * of_week), STEEP)
    of_day = max(LEAST, of_day + gain * (ratio - of_day))
    gain = (0.05 if is_early else 0.02) * weight
    ratio = min(count / max(LEAST, level * of_day), STEEP)
    habits[LEVEL], habits[day] = level, of_day
    habits[week] = max(LEAST, of_week + gain * (ratio - of_week))
    square = min(residual * residual, 16.0 * variance)
    habits[VARIANCE] = max(1.0, variance + 0.01 * weight * (square - variance))
    return None if is_early else found
