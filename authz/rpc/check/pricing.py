"""Pricing: what requests take from budgets, by route and model, at the prices in force."""

from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Final

from authz.core.budgets.learned import NO_GUESS, Estimates, Guess
from authz.core.budgets.prices import PriceBook, PriceVersion
from authz.core.budgets.spending import Priced, Spending
from authz.core.limits.amounts import units_of
from authz.core.request import Route


class Pricing:
    """The prices of models. wall_ms: our clock, in ms since the epoch, which picks the version.

    estimates: the learned ones.
    """

    def __init__(
        self, book: PriceBook, wall_ms: Callable[[], int], estimates: Estimates | None = None
    ) -> None:
        self._book = book
        self._wall_ms = wall_ms
        self._estimates = estimates or Estimates()

    def case(self, spending: Spending, model: str, label: str) -> Hashable:
        """Return a value that stays equal while `of` returns the same for these arguments."""
        prices = self._book.at(self._wall_ms())
        version = prices.version if prices else ""
        if spending.learned is None:
            return version
        return version, self._guess(spending, model, label, prices)

    def of(self, spending: Spending, model: str, label: str) -> Priced | None:
        """Return what a request takes, or None if its model has no price.

        model: the name that the request gives, or empty for the one that the route names. label: of
        the route.
        """
        prices = self._book.at(self._wall_ms())
        guess = self._guess(spending, model, label, prices)
        return spending.priced(model or spending.model, prices, guess)

    def _guess(
        self, spending: Spending, model: str, label: str, prices: PriceVersion | None
    ) -> Guess:
        if spending.learned is None:
            return NO_GUESS
        found = prices.of(model or spending.model) if prices else None
        return self._estimates.of(label, found[0] if found else "", spending.learned)


NO_PRICES: Final = Pricing(PriceBook(), lambda: 0)


def priced_route(route: Route, priced: Priced, *, keeps_units: bool) -> Route:
    """Return the route with what its requests take, and the terms of their settlement.

    keeps_units: the route's cost is what its requests take from limits of requests.
    """
    amounts = priced.amounts
    if keeps_units:
        amounts = amounts._replace(units=units_of(route.cost))
    return replace(route, cost=amounts, priced_as=priced.model, terms=priced.terms)
