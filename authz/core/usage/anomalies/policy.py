"""Alarms and rules: which keys raise an event, and which anomalies change a key by themselves.

Nothing happens to a key unless the settings name it. A rule needs two features, because one alone
is too often an honest change.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from authz.core.records import KeyRecord
from authz.core.usage.anomalies.features import Feature


class Done(StrEnum):
    """The result of an alarm."""

    NOTED = "noted"
    DISABLED = "disabled"
    ROTATED = "rotated"  # a new secret is on its way to the holder
    THROTTLED = "throttled"  # its rates are lowered for a time
    HELD = "held"  # a rule would have changed too many keys: a person decides


@dataclass(frozen=True, slots=True)
class Subjects:
    """Keys, by any of their kid, client, project, tenant and plan. Empty: none.

    within: only keys of these tenants, as two tenants may have clients of one id; empty: of all.
    """

    keys: frozenset[str] = frozenset()
    clients: frozenset[str] = frozenset()
    projects: frozenset[str] = frozenset()
    tenants: frozenset[str] = frozenset()
    plans: frozenset[str] = frozenset()
    within: frozenset[str] = frozenset()

    def include(self, record: KeyRecord) -> bool:
        """Return whether a key is one of them."""
        if self.within and record.tenant_id not in self.within:
            return False
        return (
            record.kid in self.keys
            or record.client_id in self.clients
            or record.project_id in self.projects
            or record.tenant_id in self.tenants
            or record.plan in self.plans
        )


class RuleAction(StrEnum):
    """The effect of a rule on a key."""

    DISABLE = "disable"
    ROTATE = "rotate"
    THROTTLE = "throttle"


@dataclass(frozen=True, slots=True)
class Rule:
    """Changes keys whose hours are unusual in all of these features, at least two.

    percent, for_ms: of a throttle.
    """

    name: str
    features: frozenset[Feature]
    subjects: Subjects
    action: RuleAction
    percent: int = 50
    for_ms: int = 0


@dataclass(frozen=True, slots=True)
class AlarmPolicy:
    """The keys with alarms, and the rules. per_hour: keys that rules may change in an hour."""

    alarms: Subjects
    rules: tuple[Rule, ...] = ()
    per_hour: int = 10

    def watches(self, record: KeyRecord) -> bool:
        """Return whether anomalies of a key raise an event."""
        return self.alarms.include(record) or any(
            rule.subjects.include(record) for rule in self.rules
        )

    def rule_for(self, record: KeyRecord, reasons: Mapping[Feature, object]) -> Rule | None:
        """Return the first rule that fits a key and these reasons, or None."""
        return next(
            (
                rule
                for rule in self.rules
                if rule.features <= reasons.keys() and rule.subjects.include(record)
            ),
            None,
        )
