"""Judgement of one hour of a key: every feature, compared with the habits of the key."""

from array import array
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from authz.core.public_addresses import may_be_reached
from authz.core.usage.anomalies.features import Feature, Gap, Reason
from authz.core.usage.anomalies.habits import AGE, DENIED, ERRORS, move_on
from authz.core.usage.anomalies.rate import LEARNING, judge_rate
from authz.core.usage.anomalies.shares import judge_share
from authz.core.usage.anomalies.sightings import Sightings
from authz.core.usage.anomalies.spread import BY_AGENT, BY_NETWORK, judge_spread

Gaps = Mapping[Feature, Gap]
"""The features that are not judged, and why."""

_MAX_NETWORKS: Final = 20_000  # whose kind is remembered


class Callers(NamedTuple):
    """The callers of a kind in one hour. has_new: whether one was never seen before.

    gap: set if their number says nothing.
    """

    number: int = 0
    has_new: bool = False
    gap: Gap | None = Gap.NO_FACTS


NOBODY: Final = Callers()


class Hour(NamedTuple):
    """One hour of a key. errors: responses of the backend with an error, of client or server."""

    requests: int = 0
    denied: int = 0
    errors: int = 0
    networks: Callers = NOBODY
    agents: Callers = NOBODY


def callers(sightings: Sightings, hour: int, feature: Feature) -> Callers:
    """Return the callers of an hour. feature: NETWORKS or AGENTS.

    Networks that are not on the public internet do not count: they are those of proxies and NAT.
    """
    names = sightings.at(hour)
    if not names:
        return NOBODY
    if feature is Feature.NETWORKS:
        names = [name for name in names if _is_public(name)]
        if not names:
            return Callers(gap=Gap.PRIVATE)
    return Callers(len(names), any(sightings.is_new(name, hour) for name in names), None)


def judge(habits: "array[float]", number: int, hour: Hour) -> tuple[list[Reason], Gaps]:
    """Compare an hour with the habits, change them, and return the reasons and the gaps.

    number: of the hour, since the epoch. It MUST be after the last one that was judged.
    """
    move_on(habits, number)
    requests, denied, errors, networks, agents = hour
    gaps: dict[Feature, Gap] = {}
    found: list[Reason] = []
    if reason := judge_rate(habits, number, requests):
        found.append(reason)
    if habits[AGE] < LEARNING:
        gaps[Feature.RATE] = Gap.HISTORY
    if requests:
        for kind, (count, has_new, gap) in ((BY_NETWORK, networks), (BY_AGENT, agents)):
            judged = gap or judge_spread(habits, kind, count, has_new=has_new)
            if judged is None:
                continue
            if isinstance(judged, Gap):
                gaps[kind.feature] = judged
            else:
                found.append(judged)
        passed = requests - denied
        if reason := judge_share(habits, Feature.DENIED, DENIED, denied, requests):
            found.append(reason)
        if reason := judge_share(habits, Feature.ERRORS, ERRORS, errors, passed):
            found.append(reason)
    habits[AGE] += 1.0
    return found, gaps


@lru_cache(_MAX_NETWORKS)
def _is_public(network: str) -> bool:
    return may_be_reached(network.partition("/")[0])
