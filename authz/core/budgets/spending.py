"""Spending of a route: what its requests take from budgets, and how the real use is computed.

cost: {estimate: 800, settle: total_tokens, model: "{model}"}
cost: {estimate: 800, settle: "input_tokens + output_tokens*3"}
cost: {estimate: 2500, settle: usd}
"""

import re
from dataclasses import dataclass
from typing import Final

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
    model's name, or empty. model_variable: the name comes from the variable `model`.
    """

    estimate: int
    units: int = 1
    weights: Weights = TOTAL
    in_usd: bool = False
    model: str = ""
    model_variable: bool = False

    def priced(self, model: str, prices: PriceVersion | None) -> "Priced | None":
        """Return what a request takes, and the terms of its settlement, at these prices.

        None if the prices have none for this model. Without prices the money is not known, unless
        the estimate is in micro-dollars.
        """
        if prices is None:
            usd = self.estimate if self.in_usd else None
            return Priced(self._amounts(usd), model="", terms=str(Terms(self.weights)))
        found = prices.of(model)
        if found is None:
            return None
        name, price = found
        terms = Terms(self.weights, prices.version, price)
        return Priced(self._amounts(self._estimated(price)), model=name, terms=str(terms))

    def _estimated(self, price: Price) -> int:
        return self.estimate if self.in_usd else price.at_most(self.estimate)

    def _amounts(self, usd: int | None) -> Amounts:
        tokens = 0 if self.in_usd else self.estimate
        return Amounts(self.units, tokens, None if usd is None else min(usd, MAX_TAKEN))


@dataclass(frozen=True, slots=True)
class Priced:
    """The amounts that a request takes in advance. model, terms: for its usage record.

    model: empty without prices.
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


def is_model(text: str) -> bool:
    """Return whether text is the name of a model: 1 to 128 of A-Z a-z 0-9 . _ : / @ + and -."""
    return _MODEL.fullmatch(text) is not None
