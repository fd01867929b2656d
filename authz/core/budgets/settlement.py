"""Settlement: what a request really used of its budgets, from the log entry of its end.

Rules:
1. A final usage counts as it is.
2. A usage that could still grow counts, or the estimate if that is more.
3. Without a usage, an error answer used nothing: the estimate is returned. So is that of a
   request that never reached the backend.
4. Without a usage, everything else keeps its estimate: an answer that hides its tokens, a client
   that left, a backend that was too slow. Returning it would let lost reports overspend a budget.
5. Without a price, a budget of money keeps the estimate.
6. A budget of bytes counts the bytes that were sent, whatever the answer was.
7. More than MAX_TOKENS of one kind count as MAX_TOKENS, and the request is reported.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

from authz.core.budgets.prices import MAX_TOKENS, Tokens
from authz.core.budgets.terms import Terms
from authz.core.limits.amounts import Of
from authz.core.limits.reserved import Taken

_REPORT: Final = re.compile(rb"(complete|partial)((?::[0-9]{1,13}){5})", re.ASCII)


class Report(NamedTuple):
    """The tokens that a response reported. is_final: they cannot grow any more.

    is_plausible: no kind had more than MAX_TOKENS (10,000,000); `tokens` has at most so many.
    """

    tokens: Tokens
    is_final: bool
    is_plausible: bool


class Basis(StrEnum):
    """On what the settlement of a request is based."""

    REPORTED = "reported"
    ESTIMATED = "estimated"  # the estimate stays, at least
    RETURNED = "returned"  # the request used nothing


@dataclass(frozen=True, slots=True)
class Settled:
    """The real use of one request. tokens: as the response reported them, none without a report.

    units: the weighted tokens, for budgets of tokens. micro_dollars: the cost; None without a
    price.
    """

    basis: Basis
    tokens: Tokens
    units: int
    micro_dollars: int | None
    is_plausible: bool = True

    def used(self, taken: Taken, bytes_out: int = 0) -> int:
        """Return what the request used of a budget, from which the Check took `taken.units`.

        bytes_out: of the body of the response, as far as it was sent.
        """
        counted = _counted(taken.counter)
        if counted is Of.BYTES_OUT:
            return bytes_out
        if self.basis is Basis.RETURNED:
            return 0
        used = self.micro_dollars if counted is Of.USD else self.units
        if used is None:
            return taken.units
        return max(used, taken.units) if self.basis is Basis.ESTIMATED else used


NOT_METERED: Final = Settled(Basis.RETURNED, Tokens(), 0, 0)
"""The settlement of a request of a route without tokens."""


@lru_cache(maxsize=1024)
def _counted(counter: str) -> Of:
    """Return what the counter of a budget counts."""
    return Of(counter.split(" ")[2])


def parse_report(word: bytes) -> Report | None:
    """Return the report in `STATUS:INPUT:OUTPUT:CACHED:CACHE_WRITE:REASONING`.

    None if there is none, or the word is not valid. Only `complete` is final, and `partial` is not.
    """
    match = _REPORT.fullmatch(word)
    if match is None:
        return None
    numbers = list(map(int, match[2][1:].split(b":")))
    is_plausible = max(numbers) <= MAX_TOKENS
    return Report(Tokens.of_report(numbers), match[1] == b"complete", is_plausible)


def settle(terms: Terms, report: Report | None, *, failed: bool) -> Settled:
    """Return the settlement of one request.

    report: None if the response reported no tokens. failed: the answer was an error, or none came
    because the request did not reach the backend.
    """
    if report is None:
        basis = Basis.RETURNED if failed else Basis.ESTIMATED
        return Settled(basis, Tokens(), 0, 0)
    price = terms.price
    return Settled(
        Basis.REPORTED if report.is_final else Basis.ESTIMATED,
        report.tokens,
        terms.weights.count(report.tokens),
        price.cost(report.tokens) if price else None,
        report.is_plausible,
    )
