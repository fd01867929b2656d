"""Spending of a route: what its requests take from budgets, and how the real use is computed.

cost: {estimate: 800, settle: total_tokens, model: "{model}"}
cost: {estimate: 800, settle: "input_tokens + output_tokens*3"}
cost: {estimate: 2500, settle: usd}
cost: {estimate: learned, at_least: 100, at_most: 4096}
cost: {bytes_out: 50000}
"""

import re
from dataclasses import dataclass
from typing import Final

from authz.core.budgets.learned import FLOOR_PART, NO_GUESS, Guess, Statistic
from authz.core.budgets.prices import MAX_TOKENS, Price, PriceVersion
from authz.core.budgets.terms import NOTHING, TOTAL, Terms, Weights
from authz.core.errors import BadInput
from authz.core.fields import shown
from authz.core.limits.amounts import MAX_TAKEN, Amounts

USD: Final = "usd"
MAX_WEIGHT: Final = 1000

_TERM: Final = re.compile(r"([a-z_]+)_tokens(?: ?\* ?([0-9]{1,4}))?", re.ASCII)
_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Spending:
    """The cost of a route whose real use is known after the response.

    units: what a request takes from limits of requests. estimate: tokens, or micro-dollars if
    `in_usd`; 1 to MAX_TOKENS. weights: how tokens are counted for budgets of tokens. model: the
    model's name, or empty. model_variable: the name comes from the variable `model`. learned: the
    estimate is this statistic of earlier requests, from `least` to `estimate`. bytes_out: of the
    body of a response. With an estimate of 0 the route takes neither tokens nor money.
    """

    estimate: int
    units: int = 1
    weights: Weights = TOTAL
    in_usd: bool = False
    model: str = ""
    model_variable: bool = False
    learned: Statistic | None = None
    least: int = 1
    bytes_out: int = 1

    def priced(
        self, model: str, prices: PriceVersion | None, guess: Guess = NO_GUESS
    ) -> "Priced | None":
        """Return what a request takes, and the terms of its settlement, at these prices.

        None if the prices have none for this model. Without prices the money is not known, unless
        the estimate is in micro-dollars. guess: what was learned; `estimate` stands for a number
        that is not known.
        """
        if not self.estimate:
            return Priced(self._amounts(NO_GUESS, 0), model="", terms="")
        if prices is None:
            usd = self._within(guess.usd) if self.in_usd else None
            return Priced(self._amounts(guess, usd), model="", terms=str(Terms(self.weights)))
        found = prices.of(model)
        if found is None:
            return None
        name, price = found
        terms = Terms(self.weights, prices.version, price)
        amounts = self._amounts(guess, self._micro_dollars(guess, price))
        return Priced(amounts, model=name, terms=str(terms))

    def _micro_dollars(self, guess: Guess, price: Price) -> int:
        if self.in_usd:
            return self._within(guess.usd)
        most = price.at_most(self.estimate)
        return most if guess.usd is None else min(max(guess.usd, price.at_most(self.least)), most)

    def _amounts(self, guess: Guess, usd: int | None) -> Amounts:
        tokens = 0 if self.in_usd else self._within(guess.units)
        taken = None if usd is None else min(usd, MAX_TAKEN)
        return Amounts(self.units, tokens, taken, self.bytes_out)

    def _within(self, number: int | None) -> int:
        return self.estimate if number is None else min(max(number, self.least), self.estimate)


@dataclass(frozen=True, slots=True)
class Priced:
    """The amounts that a request takes in advance. model, terms: for its usage record.

    model: empty without prices. terms: empty if the route takes neither tokens nor money.
    """

    amounts: Amounts
    model: str
    terms: str


def parse_settle(field: str, text: str) -> Weights | None:
    """Return the weights of a formula, or None for `usd`.

    Raises BadInput unless it is `usd`, `total_tokens`, or a sum of `input_tokens`, `output_tokens`,
    `cached_tokens`, `cache_write_tokens` and `reasoning_tokens`, each at most once and with a
    factor of at most MAX_WEIGHT (1000), not all of them 0.
    """
    if text == USD:
        return None
    if text == "total_tokens":
        return TOTAL
    found: dict[str, int] = {}
    for term in text.split("+"):
        match = _TERM.fullmatch(term.strip())
        if match is None or match[1] not in Weights._fields or match[1] in found:
            raise BadInput(
                field, f"{shown(text)}: total_tokens, input_tokens*P + output_tokens*Q, or usd"
            )
        found[match[1]] = 1 if match[2] is None else int(match[2])
    weights = NOTHING._replace(**found)
    if not 0 < max(weights) <= MAX_WEIGHT:
        raise BadInput(field, f"{shown(text)}: a factor is a whole number up to {MAX_WEIGHT}")
    return weights


def parse_estimate(field: str, number: int) -> int:
    """Return the number unchanged. Raises BadInput unless it is 1 to MAX_TOKENS (10,000,000)."""
    if not 1 <= number <= MAX_TOKENS:
        raise BadInput(field, f"{number}: an estimate is a whole number from 1 to {MAX_TOKENS}")
    return number


def parse_learned_bounds(least: int | None, most: int | None) -> tuple[int, int]:
    """Return the bounds of a learned estimate. Without `least` it is 1/20 of the most.

    Raises BadInput unless `most` is there, both are estimates, and `least` is not above `most`.
    """
    if most is None:
        raise BadInput("at_most", "a learned estimate needs it: it is the estimate until then")
    most = parse_estimate("at_most", most)
    least = max(1, most // FLOOR_PART) if least is None else parse_estimate("at_least", least)
    if least > most:
        raise BadInput("at_least", f"{least}: it is more than at_most")
    return least, most


def is_model(text: str) -> bool:
    """Return whether text is the name of a model: 1 to 128 of A-Z a-z 0-9 . _ : / @ + and -."""
    return _MODEL.fullmatch(text) is not None
