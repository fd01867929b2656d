"""The detectors over synthetic keys: the hours of their alarms."""

from collections.abc import Callable, Sequence

from authz.core.usage.anomalies.features import Feature, Reason
from authz.core.usage.anomalies.habits import AGE, DAY, NETWORKS, fresh, move_on
from authz.core.usage.anomalies.judging import callers
from authz.core.usage.anomalies.rate import judge_rate
from authz.core.usage.anomalies.sightings import Sightings
from authz.core.usage.anomalies.spread import BY_NETWORK, judge_spread
from tests.support.anomalies import leaks


def rate(counts: Sequence[int]) -> list[int]:
    """Return the hours with an unusual rate."""
    return _rate(counts, lambda _: None)


def rate_without_seasons(counts: Sequence[int]) -> list[int]:
    """Return the hours with an unusual rate, by a mutant that forgets the day and the week."""

    def forget(habits):
        for at in range(DAY, NETWORKS):
            habits[at] = 1.0

    return _rate(counts, forget)


def _rate(counts: Sequence[int], mutate: Callable) -> list[int]:
    habits, found = fresh(0), []
    for hour, count in enumerate(counts):
        if judge_rate(habits, hour, count):
            found.append(hour)
        habits[AGE] += 1
        mutate(habits)
    return found


def spread(key: leaks.Key) -> list[int]:
    """Return the hours with an unusual spread over networks."""
    habits, sightings, found = fresh(0), Sightings(), []
    for hour, networks in enumerate(key.hours):
        sightings.see(hour, map(leaks.network, networks))
        move_on(habits, hour)
        now = callers(sightings, hour, Feature.NETWORKS)
        judged = judge_spread(habits, BY_NETWORK, now.number, has_new=now.has_new)
        if isinstance(judged, Reason):
            found.append(hour)
    return found
