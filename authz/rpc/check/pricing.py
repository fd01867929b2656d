"""Pricing: what requests take from budgets, by route and model, at the prices in force."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from authz.core.budgets.prices import PriceBook
from authz.core.budgets.spending import Priced, Spending
from authz.core.limits.amounts import units_of
from authz.core.request import Route


class Pricing:
    """The prices of models. wall_ms: our clock, in ms since the epoch, which picks the version."""

    def __init__(self, book: PriceBook, wall_ms: Callable[[], int]) -> None:
        self._book = book
        self._wall_ms = wall_ms

    @property
    def version(self) -> str:
        """The version of the prices that is in force; empty without one."""
        prices = self._book.at(self._wall_ms())
        return prices.version if prices else ""

    def of(self, spending: Spending, model: str) -> Priced | None:
        """Return what a request takes, or None if its model has no price.

        model: the name that the request gives, or empty for the one that the route names.
        """
        return spending.priced(model or spending.model, self._book.at(self._wall_ms()))


NO_PRICES: Final = Pricing(PriceBook(), lambda: 0)


def priced_route(route: Route, priced: Priced, *, keeps_units: bool) -> Route:
    """Return the route with what its requests take, and the terms of their settlement.

    keeps_units: the route's cost is what its requests take from limits of requests.
    """
    amounts = priced.amounts
    if keeps_units:
        amounts = amounts._replace(units=units_of(route.cost))
    return replace(route, cost=amounts, priced_as=priced.model, terms=priced.terms)
