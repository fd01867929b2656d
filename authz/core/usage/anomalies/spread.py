"""The spread of a key: how many networks, and families of user agents, use it in an hour.

A server that moves leaves its old network. A second holder of the key adds one. So an hour is
unusual if it has more networks than every hour of the week before it, and one of them is new. Where
many are usual, one more says nothing.
"""

from array import array
from typing import Final, NamedTuple

from authz.core.usage.anomalies.features import Feature, Gap, Reason
from authz.core.usage.anomalies.habits import AGENTS, DAY_HOURS, HOUR, NETWORKS, RING_DAYS, SINCE

WEEK_HOURS: Final = 168


class Kind(NamedTuple):
    """A kind of callers. ring: its position in habits. most: how many may be usual."""

    feature: Feature
    ring: int
    most: int


BY_NETWORK: Final = Kind(Feature.NETWORKS, NETWORKS, 10)
BY_AGENT: Final = Kind(Feature.AGENTS, AGENTS, 5)


def judge_spread(
    habits: "array[float]", kind: Kind, number: int, *, has_new: bool
) -> Reason | Gap | None:
    """Compare the callers of the current hour, remember their number, and return the judgement.

    number: of the hour. has_new: whether one of them was never seen before.
    """
    feature, ring, most = kind
    days = habits[ring : ring + RING_DAYS]
    usual = max(days)
    hour = habits[HOUR]
    today = int(hour) // DAY_HOURS % RING_DAYS
    if number > days[today]:
        habits[ring + today] = number
    if hour - habits[SINCE] < WEEK_HOURS:
        return Gap.HISTORY
    if usual > most:
        return Gap.MANY
    if has_new and number > usual:
        return Reason(feature, number, usual, number / (usual + 1.0))
    return None
