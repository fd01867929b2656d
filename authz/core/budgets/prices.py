"""Prices of models, in versions that begin at a time, and the cost of one request.

A price is in micro-dollars for a million tokens. The cost of a request is rounded up to a whole
micro-dollar, once.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from authz.core.errors import BadInput

PER_TOKENS: Final = 1_000_000
MAX_PRICE: Final = 1_000_000_000_000  # a dollar for each token
MAX_TOKENS: Final = 10_000_000  # of one kind in one request; more is not plausible
OTHER: Final = "other"  # in usage records: a model that the price table does not name


class Tokens(NamedTuple):
    """The tokens of one request.

    cached, cache_write: the parts of the input that were read from a cache and written into it.
    reasoning: the part of the output that is reasoning. No part is more than its whole; see
    `of_report`.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0

    @property
    def total(self) -> int:
        """Input and output together."""
        return self.input + self.output

    @classmethod
    def of_report(cls, numbers: Sequence[int]) -> "Tokens":
        """Return the tokens that a response reported, each at most MAX_TOKENS.

        numbers: in the order of the fields. A part that is more than its whole becomes the whole.
        """
        given, output, cached, written, reasoning = (min(each, MAX_TOKENS) for each in numbers)
        cached = min(cached, given)
        return cls(given, output, cached, min(written, given - cached), min(reasoning, output))


class Price(NamedTuple):
    """The price of one model, in micro-dollars for a million tokens; per_request: for a request.

    The parts of input and output have prices of their own, instead of that of the whole.
    """

    input: int
    output: int
    cached: int
    cache_write: int
    reasoning: int
    per_request: int = 0

    def cost(self, tokens: Tokens) -> int:
        """Return the cost in micro-dollars, rounded up."""
        parts = (
            (tokens.input - tokens.cached - tokens.cache_write) * self.input,
            tokens.cached * self.cached,
            tokens.cache_write * self.cache_write,
            (tokens.output - tokens.reasoning) * self.output,
            tokens.reasoning * self.reasoning,
        )
        return -(-sum(parts) // PER_TOKENS) + self.per_request

    def at_most(self, tokens: int) -> int:
        """Return the cost of `tokens` of the most expensive kind, in micro-dollars, rounded up."""
        return -(-tokens * max(self[:5]) // PER_TOKENS) + self.per_request


@dataclass(frozen=True, slots=True)
class PriceVersion:
    """The prices from `from_ms` on, in ms since the epoch.

    default: of every model that `models` does not name; None: there is none.
    """

    version: str
    from_ms: int
    models: Mapping[str, Price]
    default: Price | None

    def of(self, model: str) -> tuple[str, Price] | None:
        """Return the name of a model for usage records, and its price.

        The name is OTHER if the price is the default. None if there is no price. model: "" if it is
        not known.
        """
        price = self.models.get(model)
        if price is not None:
            return model, price
        return None if self.default is None else (OTHER, self.default)


class PriceBook:
    """All versions of the prices."""

    def __init__(self, versions: Sequence[PriceVersion] = ()) -> None:
        """Raise BadInput if two versions have the same name or begin at the same time."""
        self._versions = sorted(versions, key=lambda each: each.from_ms)
        self._starts = [each.from_ms for each in self._versions]
        names = {each.version for each in versions}
        if len(names) < len(versions) or len(set(self._starts)) < len(versions):
            raise BadInput("prices", "each version needs a name and a beginning of its own")

    def at(self, now_ms: int) -> PriceVersion | None:
        """Return the version that is in force; None before the first one begins."""
        found = bisect_right(self._starts, now_ms)
        return self._versions[found - 1] if found else None
