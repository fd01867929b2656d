"""Rows of the audit trail that note alarms about anomalies. An older version skips them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from authz.core.keys.text import KID_PATTERN
from authz.core.trail.rows import Row
from authz.core.usage.anomalies.features import Feature, Reason
from authz.core.usage.anomalies.policy import Done
from authz.core.usage.anomalies.ranking import Ranked, decoded, encoded

NOTED: Final = "anomaly"  # the action of such a row
REPEATED: Final = 24  # hours after which the same alarm comes again
_MOST: Final = 2**53


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm about a key. hour: the last unusual one, since the epoch.

    reasons: by feature. rule: the name of the rule that decided, or empty.
    """

    kid: str
    hour: int
    reasons: Mapping[Feature, Reason]
    done: Done = Done.NOTED
    rule: str = ""

    @property
    def ranked(self) -> Ranked:
        """The alarm as an entry of the ranking."""
        return Ranked(self.kid, self.hour, self.hour, self.reasons)

    def covers(self, other: "Alarm") -> bool:
        """Return whether another alarm about the same key would repeat this one.

        It does for a day, unless it has a new feature.
        """
        return other.hour < self.hour + REPEATED and other.reasons.keys() <= self.reasons.keys()


def note(alarm: Alarm, change_id: str, writer: str, now: int) -> dict[str, str]:
    """Return the fields of a row that notes an alarm, without a mark. now: ms since the epoch."""
    detail = {
        "key": alarm.kid,
        "hour": alarm.hour,
        "reasons": encoded(alarm.reasons.values()),
        "done": alarm.done,
        "rule": alarm.rule,
    }
    return {
        "kid": "",
        "change_id": change_id,
        "action": NOTED,
        "actor": writer,
        "at": str(now),
        "detail": json.dumps(detail),
    }


def noted(row: Row) -> Alarm | None:
    """Return the alarm of a row, or None if it is another row. The mark is not checked."""
    if row.kid or row.fields.get("action") != NOTED:
        return None
    try:
        found: Any = json.loads(row.fields.get("detail", ""))
        kid, hour, rule = found["key"], found["hour"], found["rule"]
        done = Done(found["done"])
        reasons = {one.feature: one for one in decoded(found["reasons"])}
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    if not (isinstance(kid, str) and KID_PATTERN.fullmatch(kid) and isinstance(rule, str)):
        return None
    if not (isinstance(hour, int) and 0 <= hour < _MOST):
        return None
    return Alarm(kid, hour, reasons, done, rule)
