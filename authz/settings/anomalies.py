"""The `anomalies` section: whether hours of keys are judged, and what follows from it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from authz.settings.parsers import AtMost, Between
from authz.settings.sections import Section
from authz.settings.values import Id, KeyId, distinct, seconds

if TYPE_CHECKING:  # most commands do not need this module
    from authz.core.usage.anomalies.policy import AlarmPolicy, Subjects

Ids = Annotated[tuple[Id, ...], distinct]
Word = Literal["rate", "silence", "networks", "agents", "denied", "errors"]


class Named(Section):
    """Keys, by any of these. within: only those of these tenants."""

    keys: Annotated[tuple[KeyId, ...], distinct] = ()
    clients: Ids = ()
    projects: Ids = ()
    tenants: Ids = ()
    plans: Ids = ()
    within: Ids = ()

    def subjects(self) -> "Subjects":
        """Return the keys as a value of the core."""
        from authz.core.usage.anomalies.policy import Subjects  # noqa: PLC0415

        return Subjects(
            frozenset(self.keys),
            frozenset(self.clients),
            frozenset(self.projects),
            frozenset(self.tenants),
            frozenset(self.plans),
            frozenset(self.within),
        )


class Rule(Section):
    """A rule: changes keys of which all these features are unusual within a day. of: the keys."""

    features: Annotated[tuple[Word, ...], distinct]
    of: Named

    def check_together(self) -> None:
        """Raise ValueError if the rule has fewer than two features, or names no keys."""
        if len(self.features) < 2:  # noqa: PLR2004
            raise ValueError("features: give at least two, because one alone is too often honest")
        of = self.of
        if not any((of.keys, of.clients, of.projects, of.tenants, of.plans)):
            raise ValueError("of names no keys: give keys, clients, projects, tenants or plans")


class ThrottleRule(Rule):
    """A rule that lowers the rates of keys to `percent` for a time."""

    features: Annotated[tuple[Word, ...], distinct]
    of: Named
    percent: Annotated[int, Between(25, 99)] = 50
    lasts: Annotated[float, seconds("1m", "30d")] = 6 * 3600.0


AnyRule = Rule | ThrottleRule


class Anomalies(Section):
    """Anomalies: judged by `authz admin`, from the callers that `authz meter` remembers."""

    enabled: bool = True
    alarms: Named = Named()
    disable: Annotated[dict[Id, Rule], AtMost(32)] = {}
    rotate: Annotated[dict[Id, Rule], AtMost(32)] = {}
    throttle: Annotated[dict[Id, ThrottleRule], AtMost(32)] = {}
    max_per_hour: Annotated[int, Between(0, 1_000_000)] = 10

    def policy(self) -> "AlarmPolicy | None":
        """Return the alarms and rules as a value of the core, or None if there are none."""
        from authz.core.usage.anomalies import policy  # noqa: PLC0415
        from authz.core.usage.anomalies.features import Feature  # noqa: PLC0415
        from authz.core.usage.anomalies.policy import (  # noqa: PLC0415
            AlarmPolicy,
            RuleAction,
            Subjects,
        )

        alarms = self.alarms.subjects()
        named: dict[RuleAction, Mapping[str, AnyRule]] = {
            RuleAction.DISABLE: self.disable,
            RuleAction.ROTATE: self.rotate,
            RuleAction.THROTTLE: self.throttle,
        }
        rules = []
        for action, section in named.items():
            for name, rule in section.items():
                features = frozenset(map(Feature, rule.features))
                how = (
                    (rule.percent, round(rule.lasts * 1000))
                    if isinstance(rule, ThrottleRule)
                    else ()
                )
                rules.append(policy.Rule(name, features, rule.of.subjects(), action, *how))
        if not rules and alarms == Subjects():
            return None
        return AlarmPolicy(alarms, tuple(rules), self.max_per_hour)
