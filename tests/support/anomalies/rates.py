"""Requests of synthetic keys by hour, with a daily and weekly shape, and anomalies in some of them.

Counts are negative binomial around a seasonal mean. Growth, and a step of 30 % in half of the keys,
are no anomalies. Anomalies come after two weeks: 8 times the mean for 3 hours, 3 times for 48
hours, a ramp to 3 times in 5 days, silence for 24 hours.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

WEEK: Final = 168
WEEKS: Final = 6
HOURS: Final = WEEKS * WEEK
LEARNING: Final = 2 * WEEK
LENGTHS: Final = {"spike": 3, "shift": 48, "ramp": 120, "silent": 24}
AFTERWARDS: Final = 30  # hours in which an alarm belongs to the anomaly before it
MANY: Final = 500.0  # from which a Poisson number is drawn from its normal approximation


@dataclass(frozen=True, slots=True)
class Key:
    """The requests of a key by hour, and its anomaly: kind, first hour, hour after the last."""

    counts: Sequence[int]
    anomaly: tuple[str, int, int] | None


def keys(number: int, seed: int) -> list[Key]:
    """Return synthetic keys. The same seed gives the same keys."""
    draw = Random(seed)
    return [_key(draw) for _ in range(number)]


def _key(draw: Random) -> Key:
    base = math.exp(draw.gauss(3.5, 1.5))
    amplitude, phase = draw.uniform(0, 0.9), draw.randrange(24)
    weekend, dispersion = draw.uniform(0.2, 1.0), draw.uniform(2, 20)
    step = draw.randrange(3 * WEEK, HOURS) if draw.random() < 0.5 else HOURS
    anomaly = None
    if draw.random() < 0.4:
        kind, begin = draw.choice(list(LENGTHS)), draw.randrange(LEARNING + 10, HOURS - 130)
        anomaly = (kind, begin, begin + LENGTHS[kind])
    counts = []
    for hour in range(HOURS):
        shape = 1 + amplitude * math.cos(2 * math.pi * (hour - phase) / 24)
        mean = max(0.05, base * shape * (weekend if hour // 24 % 7 >= 5 else 1.0))
        mean *= 1.02 ** (hour / WEEK) * (1.3 if hour > step else 1.0)
        if anomaly and anomaly[1] <= hour < anomaly[2]:
            mean *= _factor(anomaly[0], hour - anomaly[1])
        counts.append(_poisson(draw, mean * draw.gammavariate(dispersion, 1 / dispersion)))
    return Key(counts, anomaly)


def _factor(kind: str, hour: int) -> float:
    """Return the factor of the mean in an hour of an anomaly, counted from its begin."""
    if kind == "ramp":
        return 1 + 2 * hour / (LENGTHS["ramp"] - 1)
    return {"spike": 8.0, "shift": 3.0, "silent": 0.0}[kind]


def _poisson(draw: Random, mean: float) -> int:
    if mean > MANY:
        return max(0, round(draw.gauss(mean, math.sqrt(mean))))
    number, product, bound = 0, draw.random(), math.exp(-mean)
    while product > bound:
        number += 1
        product *= draw.random()
    return number


@dataclass(frozen=True, slots=True)
class Score:
    """The result of a detector. found, there: anomalies by kind. false_alarms: a key and week."""

    found: dict[str, int]
    there: dict[str, int]
    false_alarms: float

    @property
    def recall(self) -> float:
        """The share of the anomalies that were found."""
        return sum(self.found.values()) / sum(self.there.values())


def score(sample: Sequence[Key], alarms: Callable[[Sequence[int]], Sequence[int]]) -> Score:
    """Return the score of a detector, which returns the hours of its alarms.

    Alarms less than a day apart are one. An alarm within 6 hours after an anomaly finds it.
    """
    found, there, false = dict.fromkeys(LENGTHS, 0), dict.fromkeys(LENGTHS, 0), 0
    for key in sample:
        hours = [hour for hour in alarms(key.counts) if hour >= LEARNING]
        first = begin = end = -1
        if key.anomaly:
            kind, begin, end = key.anomaly
            there[kind] += 1
            found[kind] += any(begin <= hour < end + 6 for hour in hours)
        first = -AFTERWARDS
        for hour in hours:
            if hour - first > 24:
                first = hour
                false += not (key.anomaly and begin <= hour < end + AFTERWARDS)
    return Score(found, there, false / (len(sample) * (WEEKS - 2)))
