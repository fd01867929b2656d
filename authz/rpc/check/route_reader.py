"""The requirements of a request: its Route, from context_extensions and from our own rules.

Requirements come from what no client can write. An unknown name in context_extensions is a mistake,
such as `scope`, and may have been a restriction.
"""

import logging
from collections.abc import Sequence
from typing import Any, Final

from authz.core import fields
from authz.core.budgets.spending import Spending
from authz.core.decision import Reason
from authz.core.errors import BadInput
from authz.core.request import Headers, Route
from authz.core.route_facts import FACT_NAMES, FACTS, NO_FACTS, Facts, Refusal, facts, strictest
from authz.core.routes import RouteTable
from authz.rpc.check.override import other_methods
from authz.rpc.check.pricing import NO_PRICES, Pricing, priced_route

log = logging.getLogger("authz.check")

MAX_ROUTES: Final = 1024

_NOTHING: Final = ("",) * len(FACT_NAMES)
_COST: Final = FACT_NAMES.index("cost")
_UNKNOWN: Final = Route()  # told apart by identity
_BAD_ROUTE: Final = Refusal(Reason.BAD_REQUEST)


class RouteReader:
    """Finds the Route of each request. One object stands for all requests of a route.

    env, enforce: defaults of a route that names none. rules: of our own settings; what
    context_extensions say wins over them, fact by fact. pricing: of models.
    """

    def __init__(
        self,
        *,
        env: str | None = None,
        enforce: bool = True,
        rules: RouteTable | None = None,
        pricing: Pricing = NO_PRICES,
    ) -> None:
        self._env = env
        self._enforce = enforce
        self._rules = rules
        self._pricing = pricing
        self._routes: dict[tuple[object, ...], Route | None] = {}
        self._strange: set[frozenset[str]] = set()

    def read(
        self, extensions: Any, target: tuple[str, str], path: str, headers: Headers, model: str
    ) -> Route | Refusal:
        """Return the requirements of the route, or a refusal.

        target: method and host. model: that the proxy found in the body, or empty.

        The refusal is BAD_REQUEST for invalid context_extensions, which are logged, else that of
        our own rules. `scopes` or `auth` in context_extensions override ROUTE_NOT_ALLOWED.
        """
        values, left = _NOTHING, len(extensions)
        if left == 1 and "scopes" in extensions:  # as most routes
            values = (extensions["scopes"], "", "", "", "")
        elif left:
            values = tuple(extensions.get(name, "") for name in FACT_NAMES)
            if left > len(values) - values.count("") and not FACTS.issuperset(extensions):
                self._warn_of(frozenset(extensions) - FACTS)
                return _BAD_ROUTE
        rule = NO_FACTS if self._rules is None else self._rule(target, path, headers, model)
        if not isinstance(rule, Facts):
            is_opened = rule.reason is Reason.ROUTE_NOT_ALLOWED and any(values[:2])
            if not is_opened:  # by scopes or auth
                return rule
            rule = NO_FACTS
        if rule.spending is not None:
            return self._spending_route(values, rule, rule.spending)
        case = values if rule is NO_FACTS else (*values, rule, rule.label)
        route = self._routes.get(case, _UNKNOWN)
        if route is _UNKNOWN:
            route = self._routes[case] = self._learn(values, rule)
        return route or _BAD_ROUTE

    def _spending_route(
        self, values: tuple[str, ...], rule: Facts, spending: Spending
    ) -> Route | Refusal:
        """Return the route of a rule that spends from budgets, at the prices in force.

        The refusal is MODEL_NOT_PRICED for a model without a price, or BAD_REQUEST as for others.
        """
        case = (*values, rule, rule.label, self._pricing.version)
        route = self._routes.get(case, _UNKNOWN)
        if route is _UNKNOWN:
            priced = self._pricing.of(spending, rule.model)
            if priced is None:
                return Refusal(Reason.MODEL_NOT_PRICED, rule)
            route = self._learn(values, rule)
            if route is not None:
                route = priced_route(route, priced, keeps_units=bool(values[_COST]))
            self._routes[case] = route
        return route or _BAD_ROUTE

    def _rule(
        self, target: tuple[str, str], path: str, headers: Headers, model: str
    ) -> Facts | Refusal:
        """Return the facts of our own rules, NO_FACTS without rules, or a refusal.

        Headers or the query may override the method. Then the rules must give the same result for
        each method. If not, or if an override is unusable, the refusal is BAD_REQUEST.
        """
        rules, (method, host) = self._rules, target
        if rules is None:
            return NO_FACTS
        if rules.has_methods:
            others = other_methods(headers, path)
            if others is None:
                return _BAD_ROUTE
            if others:
                required = rules.require_all((method, *others), host, path, model)
                same = all(each == required[0] for each in required)
                return required[0] if same else _disputed(required)
        return rules.require(method, host, path, model)

    def _learn(self, values: tuple[str, ...], rule: Facts) -> Route | None:
        """Return the route of context_extensions `values`, in the order of FACT_NAMES, and `rule`.

        Log a warning and return None if the values are invalid. Empty the cache of routes if it is
        full.
        """
        try:
            route = self._combine(facts(dict(zip(FACT_NAMES, values, strict=True))), rule)
        except BadInput as cause:
            log.warning("a route is refused, its context_extensions make no sense: %s", cause)
            route = None
        if len(self._routes) >= MAX_ROUTES:
            self._routes.clear()
        return route

    def _warn_of(self, strange: frozenset[str]) -> None:
        """Log a set of unknown context_extensions names, unless it was logged before."""
        if strange in self._strange:
            return
        if len(self._strange) >= MAX_ROUTES:
            self._strange.clear()
        self._strange.add(strange)
        names, known = " ".join(map(fields.shown, sorted(strange))), " ".join(sorted(FACTS))
        log.warning(
            "a route is refused, its context_extensions say %s; there are %s", names[:200], known
        )

    def _combine(self, extensions: Facts, rule: Facts) -> Route:
        scopes = rule.scopes if extensions.scopes is None else extensions.scopes
        optional = rule.optional if extensions.optional is None else extensions.optional
        cost = rule.cost if extensions.cost is None else extensions.cost
        enforce = rule.enforce if extensions.enforce is None else extensions.enforce
        return Route(
            scopes=scopes or frozenset(),
            optional=optional or False,
            env=extensions.env or rule.env or self._env,
            cost=1 if cost is None else cost,
            enforce=self._enforce if enforce is None else enforce,
            label=rule.label,
        )


def _disputed(required: Sequence[Facts | Refusal]) -> Refusal:
    """Return BAD_REQUEST for methods with different requirements; the strictest `enforce` counts.

    The rule is unknown if one of them is refused by an unknown rule.
    """
    met = [each if isinstance(each, Facts) else each.facts for each in required]
    known = [each.enforce for each in met if each is not None]
    whole = Facts(enforce=strictest(known)) if len(known) == len(met) else None
    return Refusal(Reason.BAD_REQUEST, whole)
