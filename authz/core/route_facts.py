"""The requirements of a route, from rules of our own settings or from a proxy's configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from authz.core import fields
from authz.core.budgets.spending import Spending
from authz.core.decision import Reason
from authz.core.errors import BadInput
from authz.core.fields import shown
from authz.core.limits.limit import parse_cost
from authz.core.request import ChargeOnce

MAX_NAMES: Final = 200  # of names that are none of ours, in characters


@dataclass(frozen=True, slots=True)
class Facts:
    """The requirements of a rule or a route. None: the rule or route does not say.

    In the scopes of a rule `{name}` stands for a variable of its template, or for `{model}` of a
    request. label: names the rule in usage records. It requires nothing, so rules that differ only
    in it are equal. model: that a request asks for; empty if it is unknown or no matter. spending:
    what a request takes from budgets. assertion: the audience of the signed identity header; empty:
    there is none. public: whether publishable keys are accepted. charge_once: how retries are told,
    so that they are charged once.
    """

    scopes: frozenset[str] | None = None
    optional: bool | None = None
    env: str | None = None
    cost: int | None = None
    enforce: bool | None = None
    label: str = field(default="", compare=False)
    model: str = ""
    spending: Spending | None = None
    assertion: str = ""
    public: bool | None = None
    charge_once: ChargeOnce | None = None


NO_FACTS: Final = Facts()
FACT_NAMES: Final = ("scopes", "auth", "env", "cost", "enforce", "public")  # of a proxy's route
FACTS: Final = frozenset(FACT_NAMES)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The reason to refuse a request. facts: of the rules that it met; None if that is unknown.

    Only their `enforce` counts.
    """

    reason: Reason
    facts: Facts | None = None


def facts(extensions: Mapping[str, str]) -> Facts:
    """Parse context_extensions: the facts that a proxy gives for a route. Absent or empty is None.

    `auth` gives `optional`, False for `required`. The label stays empty.
    Raises BadInput for a wrong value, and for a name that is not in FACTS. Such a name, for example
    `scope`, is a mistake and may have been a restriction.
    """
    if strange := sorted(extensions.keys() - FACTS):
        names = " ".join(map(shown, strange))
        raise BadInput(names[:MAX_NAMES], f"there are {' '.join(sorted(FACTS))}")
    auth, env, cost = extensions.get("auth"), extensions.get("env"), extensions.get("cost")
    if auth not in {None, "", "required", "optional"}:
        raise BadInput("auth", f"{shown(auth)}: required or optional")
    scopes = extensions.get("scopes", "").split()
    return Facts(
        scopes=fields.scopes("scopes", scopes) if extensions.get("scopes") else None,
        optional=auth == "optional" if auth else None,
        env=fields.environment("env", env) if env else None,
        cost=parse_cost("cost", cost) if cost else None,
        enforce=_yes_or_no(extensions, "enforce"),
        public=_yes_or_no(extensions, "public"),
    )


def _yes_or_no(extensions: Mapping[str, str], name: str) -> bool | None:
    found = extensions.get(name)
    if found not in {None, "", "true", "false"}:
        raise BadInput(name, f"{shown(found)}: true or false")
    return found == "true" if found else None


def strictest(enforced: Sequence[bool | None]) -> bool | None:
    """Return True if any rule enforces refusals, else None if any rule does not say, else False.

    False without rules.
    """
    if True in enforced:
        return True
    return None if None in enforced else False
