"""The rules in `routes`: one rule, and the rules that cannot work."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from authz.core.errors import BadInput
from authz.core.fields import shown
from authz.core.limits.limit import MAX_COST
from authz.settings.parsers import Between, Read, parser_of
from authz.settings.sections import Section
from authz.settings.sources import Source, origin
from authz.settings.values import (
    COST,
    Audience,
    HeaderName,
    HostPattern,
    Id,
    Method,
    Scopes,
    Several,
    Template,
    seconds,
)

if TYPE_CHECKING:  # most commands need no routes
    from authz.core.budgets.learned import Statistic
    from authz.core.budgets.spending import Spending
    from authz.core.request import ChargeOnce
    from authz.core.route_rule import Rule

MAX_RULES: Final = 1000
LEARNED: Final = ("learned", "learned_p95")
MAX_BYTES: Final = 4_000_000_000  # of one response, as an estimate
MAX_LABEL: Final = 128  # characters of a path that names its rule


def _estimate(value: Any) -> int | str:
    """Return the estimate of a route: a word, or a whole number."""
    if isinstance(value, str) and value in LEARNED:
        return value
    try:
        return int(parser_of(int)(value))
    except ValueError:
        raise ValueError(f"a whole number, or {' or '.join(LEARNED)}") from None


Estimate = Annotated[int | str, Read(_estimate)]


class BudgetCost(Section):
    """The cost of a route whose real use is known after the response.

    estimate: tokens, or micro-dollars with `settle: usd`; learned, learned_p95: that of earlier
    requests, from `at_least` to `at_most`; None: the route takes neither. units: for limits of
    requests. bytes_out: the estimate of the bytes of a response.
    """

    estimate: Estimate | None = None
    at_least: int | None = None
    at_most: int | None = None
    settle: str = "total_tokens"
    model: str = ""
    units: Annotated[int, Between(0, MAX_COST)] = 1
    bytes_out: Annotated[int, Between(0, MAX_BYTES)] | None = None

    @property
    def is_learned(self) -> bool:
        """Whether the estimate is that of earlier requests."""
        return isinstance(self.estimate, str)

    def spending(self) -> "Spending":
        """Return the spending of the route. Raises BadInput for a bad value."""
        from authz.core.budgets.spending import (  # noqa: PLC0415
            Spending,
            is_model,
            parse_settle,
        )
        from authz.core.budgets.terms import NOTHING  # noqa: PLC0415

        weights, is_variable = parse_settle("settle", self.settle), self.model == "{model}"
        if self.model and not is_variable and not is_model(self.model):
            raise BadInput("model", f"{shown(self.model)}: {{model}}, or the name of a model")
        statistic, least, most = self._estimate()
        return Spending(
            estimate=most,
            least=least,
            learned=statistic,
            units=self.units,
            weights=weights or NOTHING,
            in_usd=weights is None,
            model="" if is_variable else self.model,
            model_variable=is_variable,
            bytes_out=1 if self.bytes_out is None else self.bytes_out,
        )

    def _estimate(self) -> "tuple[Statistic | None, int, int]":
        """Return the statistic, None for a fixed estimate, and the bounds."""
        from authz.core.budgets.learned import Statistic  # noqa: PLC0415
        from authz.core.budgets.spending import (  # noqa: PLC0415
            parse_estimate,
            parse_learned_bounds,
        )

        if isinstance(self.estimate, str):
            return Statistic(self.estimate), *parse_learned_bounds(self.at_least, self.at_most)
        if not (self.at_least is self.at_most is None):
            raise BadInput("at_most", "at_least and at_most go with `estimate: learned`")
        if self.estimate is None:
            if self.bytes_out is None or self.model or self.settle != "total_tokens":
                raise BadInput("estimate", "a cost has an estimate, or bytes_out without a model")
            return None, 0, 0
        return None, 1, parse_estimate("estimate", self.estimate)


def _route_cost(value: Any) -> Any:
    """Return the cost of a route: a section if it is a mapping, else a number or a variable."""
    if isinstance(value, Mapping):
        return BudgetCost.parse(value)
    return COST.parse(value)


RouteCost = Annotated[BudgetCost | int | str, Read(_route_cost)]


class ChargeOnceRule(Section):
    """How repeated requests of a route are charged once. See core/limits/charge_once.py."""

    headers: Several[HeaderName] = ("idempotency-key",)
    within: Annotated[float, seconds("1s", "1d")] = 3600.0

    def rule(self) -> "ChargeOnce":
        """Return the rule."""
        from authz.core.request import ChargeOnce  # noqa: PLC0415

        return ChargeOnce(self.headers, round(self.within * 1000))


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
    assertion: Audience = ""
    charge_once: ChargeOnceRule | None = None

    def check_together(self) -> None:
        """Raise ValueError for a bad value, or for a variable that the path lacks."""
        try:
            self.rule()
        except BadInput as cause:
            raise ValueError(cause.problem) from None

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
            assertion=self.assertion,
            charge_once=self.charge_once.rule() if self.charge_once else None,
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
    given: Sequence[RouteRule], layers: Sequence[Source], *, ignore_case: bool, asserts: bool
) -> list[BadInput]:
    """Return the mistakes of rules that are valid alone but not with the other settings.

    These are rules that are invalid if the case of letters is ignored, and rules with an assertion
    unless `asserts`. If there is none, these are rules that never apply: an earlier rule matches
    all their requests and requires something else.
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
        if one.assertion and not asserts:
            refuse(at, "assertion needs an issuer: set identity.assertion_issuer")
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
