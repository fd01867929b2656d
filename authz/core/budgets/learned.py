"""Learned estimates: the real use of earlier requests of a route and model, as mean and p95.

The meter adds each final and plausible use to a distribution of the route and its model. The store
adds these up and publishes a summary, which sidecars read:

    COUNT MEAN P95 COUNT MEAN P95      of units (weighted tokens), then of micro-dollars

P95 is the number of a step. Steps grow by 1/8 octave, so a number that is rounded up to its step is
at most 9.1 % larger. Estimates are rounded up to a step, too: then they change rarely.
"""

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil
from typing import Final, NamedTuple

STEPS: Final = tuple(ceil(2 ** (step / 8)) for step in range(8 * 32 + 1))
"""The largest number of each step, from 1 to 2^32."""
LEAST: Final = 100  # requests from which anything is learned
FLOOR_PART: Final = 20  # an estimate is at least 1/20 of the most, unless the route has a floor

_SUMMARIES: Final = re.compile(
    " ".join([r"([0-9]{1,16}) ([0-9]{1,16}) ([0-9]{1,3})"] * 2), re.ASCII
)


class Statistic(StrEnum):
    """The number of a distribution that a route takes as its estimate."""

    MEAN = "learned"
    P95 = "learned_p95"


def step_of(number: int) -> int:
    """Return the step of a number: the first one that is not smaller, or the last one."""
    return min(bisect_left(STEPS, number), len(STEPS) - 1)


@dataclass(slots=True)
class Distribution:
    """Numbers of requests. total: their sum. steps: how many of them there are, by step."""

    total: int = 0
    steps: dict[int, int] = field(default_factory=dict)

    def add(self, number: int) -> None:
        """Add the number of one request."""
        self.total += number
        step = step_of(number)
        self.steps[step] = self.steps.get(step, 0) + 1

    def merge(self, other: "Distribution") -> None:
        """Add the numbers of another distribution."""
        self.total += other.total
        for step, count in other.steps.items():
            self.steps[step] = self.steps.get(step, 0) + count


@dataclass(slots=True)
class Learning:
    """The real use of some requests of one route and model. usd: in micro-dollars."""

    units: Distribution = field(default_factory=Distribution)
    usd: Distribution = field(default_factory=Distribution)

    def add(self, units: int, usd: int | None) -> None:
        """Add one request. usd: None if no price was in force."""
        self.units.add(units)
        if usd is not None:
            self.usd.add(usd)

    def merge(self, other: "Learning") -> None:
        """Add the requests of another one."""
        self.units.merge(other.units)
        self.usd.merge(other.usd)


class Summary(NamedTuple):
    """Mean and 95th percentile of a distribution of `requests`. Both are rounded up.

    p95: at most 9.1 % too large. 0 without requests.
    """

    requests: int
    mean: int
    p95: int

    def of(self, statistic: Statistic) -> int | None:
        """Return the number, rounded up to a step; None below LEAST (100) requests."""
        if self.requests < LEAST:
            return None
        return STEPS[step_of(self.mean if statistic is Statistic.MEAN else self.p95)]


class Learned(NamedTuple):
    """The summaries of one route and model."""

    units: Summary
    usd: Summary


def parse_learned(text: str) -> Learned:
    """Return the summaries in the text that the store publishes. Raises ValueError if it is bad."""
    match = _SUMMARIES.fullmatch(text)
    if match is None:
        raise ValueError("not two summaries")
    count, mean, step, priced, mean_usd, step_usd = map(int, match.groups())
    if max(step, step_usd) >= len(STEPS):
        raise ValueError("no step")
    return Learned(_summary(count, mean, step), _summary(priced, mean_usd, step_usd))


def _summary(count: int, mean: int, step: int) -> Summary:
    return Summary(count, mean, STEPS[step] if count else 0)


def merged(
    parts: Sequence[Mapping[tuple[str, str], Learned]],
) -> Mapping[tuple[str, str], Learned]:
    """Return the estimates of several parts of a store as one, by label of a route and model.

    The mean is that of all requests. The percentile is the largest one: that of all requests is
    never above it.
    """
    if len(parts) == 1:
        return parts[0]
    found: dict[tuple[str, str], list[Learned]] = {}
    for part in parts:
        for place, one in part.items():
            found.setdefault(place, []).append(one)
    return {
        place: Learned(_together([one.units for one in all_]), _together([one.usd for one in all_]))
        for place, all_ in found.items()
    }


def _together(summaries: Sequence[Summary]) -> Summary:
    requests = sum(one.requests for one in summaries)
    total = sum(one.requests * one.mean for one in summaries)
    mean = -(-total // requests) if requests else 0
    return Summary(requests, mean, max(one.p95 for one in summaries))


class Guess(NamedTuple):
    """The learned numbers for one request, rounded up to steps. None: not enough is known."""

    units: int | None = None
    usd: int | None = None


NO_GUESS: Final = Guess()


class Estimates:
    """The learned estimates of all routes and models, as they were read last.

    is_wanted: whether a route needs them, so that they are worth reading.
    """

    def __init__(self, *, is_wanted: bool = False) -> None:
        self.is_wanted = is_wanted
        self._guesses: dict[tuple[str, str, Statistic], Guess] = {}

    def replace(self, found: Mapping[tuple[str, str], Learned]) -> None:
        """Take new estimates in place of the earlier ones. found: by label of a route and model."""
        self._guesses = {
            (*place, statistic): Guess(learned.units.of(statistic), learned.usd.of(statistic))
            for place, learned in found.items()
            for statistic in Statistic
        }

    def of(self, label: str, model: str, statistic: Statistic) -> Guess:
        """Return the numbers of a route and model. model: as in usage records, "" without one."""
        return self._guesses.get((label, model, statistic), NO_GUESS)
