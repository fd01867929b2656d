"""Terms of a settlement: how the tokens of a response become units of budgets.

The gate writes them into the usage record of a request, so the meter needs no settings and a change
of prices never applies to a request that has begun.

    1,1,0,0,0;2026-11,2500000,10000000,1250000,2500000,10000000,0

The weights of input, output, cached, cache_write and reasoning tokens; then the version of the
prices, and the price. `-` in their place: there is no price. The text has no blank, so it is one
field of a line.
"""

import re
from dataclasses import dataclass
from operator import mul
from typing import Final, NamedTuple

from authz.core.budgets.prices import MAX_PRICE, Price, Tokens

NO_PRICE: Final = "-"

_WEIGHTS: Final = re.compile(r"[0-9]{1,4}(?:,[0-9]{1,4}){4}", re.ASCII)
_PRICE: Final = re.compile(r"([a-z0-9][a-z0-9._-]{0,31})((?:,[0-9]{1,13}){6})", re.ASCII)


class Weights(NamedTuple):
    """How much a token of each kind counts in a budget of tokens, in the order of Tokens."""

    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0

    def count(self, tokens: Tokens) -> int:
        """Return the weighted sum of the tokens."""
        return sum(map(mul, self, tokens))


NOTHING: Final = Weights()
TOTAL: Final = Weights(input=1, output=1)


@dataclass(frozen=True, slots=True)
class Terms:
    """The weights for budgets of tokens, and the price for budgets of money.

    version: of the prices; empty without a price.
    """

    weights: Weights
    version: str = ""
    price: Price | None = None

    def __str__(self) -> str:
        """Return the text, which `parse_terms` parses to equal terms."""
        weights = ",".join(map(str, self.weights))
        if self.price is None:
            return f"{weights};{NO_PRICE}"
        return f"{weights};{self.version},{','.join(map(str, self.price))}"


def parse_terms(text: str) -> Terms:
    """Return the terms. Raises ValueError if the text is not valid."""
    weights, _, price = text.partition(";")
    if not _WEIGHTS.fullmatch(weights):
        raise ValueError("no weights")
    counted = Weights(*map(int, weights.split(",")))
    if price == NO_PRICE:
        return Terms(counted)
    match = _PRICE.fullmatch(price)
    numbers = list(map(int, match[2][1:].split(","))) if match else [MAX_PRICE + 1]
    if match is None or max(numbers) > MAX_PRICE:
        raise ValueError("no price")
    return Terms(counted, match[1], Price(*numbers))
