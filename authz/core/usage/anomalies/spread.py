"""The spread of a key: how many networks, and families of user agents, use it in an hour.

A server that moves leaves its old network. A second holder of the key adds one. So an hour is
unusual if it has more networks than every hour of the week before it, and one of them is new. Where
many are usual, one more says nothing.
"""

from array import array
from typing import Final

from authz.core.usage.anomalies.features import Feature, Gap, Reason
from authz.core.usage.anomalies.habits import AGENTS, DAY_HOURS, HOUR, NETWORKS, RING_DAYS, SINCE

WEEK_HOURS: Final = 168
MOST: Final = {Feature.NETWORKS: 10, Feature.AGENTS: 5}  # that may be usual
_RINGS: Final = {Feature.NETWORKS: NETWORKS, Feature.AGENTS: AGENTS}


def judge_spread(
    habits: "array[float]", feature: Feature, number: int, *, has_new: bool
) -> Reason | Gap | None:
    """Compare the callers of the current hour, remember their number, and return the judgement.

    feature: NETWORKS or AGENTS. number: of the hour. has_new: whether one of them was never seen
    before.
    """
    ring = _RINGS[feature]
    usual = max(habits[ring : ring + RING_DAYS])
    hour = int(habits[HOUR])
    today = ring + hour // DAY_HOURS % RING_DAYS
    habits[today] = max(habits[today], number)
    if hour - habits[SINCE] < WEEK_HOURS:
        return Gap.HISTORY
    if usual > MOST[feature]:
        return Gap.MANY
    if number > usual and has_new:
        return Reason(feature, number, usual, number / (usual + 1.0))
    return None
