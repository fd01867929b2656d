"""The rules in `routes`: one rule, and the rules that cannot work."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field, PlainValidator, TypeAdapter, model_validator

from authz.core.errors import BadInput
from authz.core.fields import shown
from authz.core.limits.limit import MAX_COST
from authz.settings.sections import Section
from authz.settings.sources import Source, origin
from authz.settings.values import Cost, HostPattern, Id, Method, Scopes, Template

if TYPE_CHECKING:  # most commands need no routes
    from authz.core.budgets.spending import Spending
    from authz.core.route_rule import Rule

MAX_RULES: Final = 1000
MAX_LABEL: Final = 128  # characters of a path that names its rule


class BudgetCost(Section):
    """The cost of a route whose real use is known after the response.

    estimate: tokens, or micro-dollars with `settle: usd`. units: for limits of requests.
    """

    estimate: int
    settle: str = "total_tokens"
    model: str = ""
    units: int = Field(1, ge=0, le=MAX_COST)

    def spending(self) -> "Spending":
        """Return the spending of the route. Raises BadInput for a bad value."""
        from authz.core.budgets.spending import (  # noqa: PLC0415
            Spending,
            is_model,
            parse_estimate,
            parse_settle,
        )
        from authz.core.budgets.terms import NOTHING  # noqa: PLC0415

        weights, is_variable = parse_settle("settle", self.settle), self.model == "{model}"
        if self.model and not is_variable and not is_model(self.model):
            raise BadInput("model", f"{shown(self.model)}: {{model}}, or the name of a model")
        return Spending(
            estimate=parse_estimate("estimate", self.estimate),
            units=self.units,
            weights=weights or NOTHING,
            in_usd=weights is None,
            model="" if is_variable else self.model,
            model_variable=is_variable,
        )


def _route_cost(value: Any) -> Any:
    """Return the cost of a route: a section if it is a mapping, else a number or a variable."""
    if isinstance(value, Mapping):
        return BudgetCost.model_validate(value)
    return TypeAdapter(Cost).validate_python(value)


RouteCost = Annotated[BudgetCost | int | str, PlainValidator(_route_cost)]


class RouteRule(Section):
    """Requirements of a route. The first matching rule decides. See core/route_rule.py."""

    path: Template
    name: Id = ""
    host: HostPattern = ""
    methods: tuple[Method, ...] = ()
    scopes: Scopes | None = None
    auth: Literal["required", "optional"] | None = None
    env: Literal["live", "test"] | None = None
    cost: RouteCost | None = None
    enforce: bool | None = None
    public: bool | None = None

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
            spending=cost.spending() if isinstance(cost, BudgetCost) else None,
            public=self.public,
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
