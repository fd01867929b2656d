"""The rules in `routes`: one rule, and the rules that cannot work."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

from pydantic import model_validator

from authz.core.errors import BadInput
from authz.settings.sections import Section
from authz.settings.sources import Source, origin
from authz.settings.values import Cost, HostPattern, Id, Method, Scopes, Template

if TYPE_CHECKING:  # most commands need no routes
    from authz.core.route_rule import Rule

MAX_RULES: Final = 1000
MAX_LABEL: Final = 128  # characters of a path that names its rule


class RouteRule(Section):
    """Requirements of a route. The first matching rule decides. See core/route_rule.py."""

    path: Template
    name: Id = ""
    host: HostPattern = ""
    methods: tuple[Method, ...] = ()
    scopes: Scopes | None = None
    auth: Literal["required", "optional"] | None = None
    env: Literal["live", "test"] | None = None
    cost: Cost | None = None
    enforce: bool | None = None

    @model_validator(mode="after")
    def _agrees(self) -> "RouteRule":
        try:
            self.rule()
        except BadInput as cause:
            raise ValueError(cause.problem) from None
        return self

    def rule(self, *, ignore_case: bool = False) -> "Rule":
        """Return the rule. Raises BadInput for a bad value or a variable that the path lacks.

        ignore_case: letters of the path match in either case.
        """
        from authz.core.route_facts import Facts  # noqa: PLC0415
        from authz.core.route_rule import Rule  # noqa: PLC0415

        cost = self.cost
        required = Facts(
            scopes=None if self.scopes is None else frozenset(self.scopes.split()),
            optional=None if self.auth is None else self.auth == "optional",
            env=self.env,
            cost=cost if isinstance(cost, int) else None,
            enforce=self.enforce,
            label=self.name or self.path[:MAX_LABEL],
        )
        return Rule.parse(
            "routes",
            self.path,
            self.host,
            self.methods,
            required,
            cost_variable=cost[1:-1] if isinstance(cost, str) else "",
            ignore_case=ignore_case,
        )


def unusable_rules(
    given: Sequence[RouteRule], layers: Sequence[Source], *, ignore_case: bool
) -> list[BadInput]:
    """Return the mistakes of rules that are valid alone but not with the other settings.

    These are rules that are invalid if the case of letters is ignored. If there is none, these are
    rules that never apply: an earlier rule matches all their requests and requires something else.
    """
    if not given:
        return []
    from authz.core.route_rule import hidden_rules  # noqa: PLC0415

    mistakes: list[BadInput] = []

    def refuse(at: int, problem: str) -> None:
        location = ("routes", at)
        place = origin(layers, location).name(location)
        mistakes.append(BadInput(f"routes.{at}", f"{problem} ({place})"))

    rules = []
    for at, one in enumerate(given):
        try:
            rules.append(one.rule(ignore_case=ignore_case))
        except BadInput as cause:
            refuse(at, cause.problem)
    if mistakes:
        return mistakes
    for at, before in hidden_rules(rules):
        problem = f"routes.{before} takes all its requests and asks for something else"
        refuse(at, f"{problem}; put the narrower rule first")
    return mistakes
