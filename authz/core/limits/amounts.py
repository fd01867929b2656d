"""Amounts: how much one request takes from limits, in each of the things that limits count."""

import re
from enum import StrEnum
from typing import Final, NamedTuple

from authz.core.errors import BadInput, UnknownPrice
from authz.core.fields import shown

MICRO: Final = 1_000_000  # micro-dollars of a dollar
MAX_DOLLARS: Final = 1_000_000  # of a budget
MAX_TAKEN: Final = 2**32 - 1  # by one request from one limit, as lua/spend.lua packs it

_DOLLARS: Final = re.compile(r"(0|[1-9][0-9]{0,6})(?:\.([0-9]{1,6}))?", re.ASCII)


class Of(StrEnum):
    """The things that limits count.

    Requests by their cost, tokens, money in micro-dollars, or bytes of response bodies.
    """

    REQUESTS = "requests"
    TOKENS = "tokens"
    USD = "usd"
    BYTES_OUT = "bytes_out"


class Amounts(NamedTuple):
    """The amounts of one request: cost units, tokens, micro-dollars (`usd`), and bytes.

    usd: None if no prices are in force, so that a budget of money cannot be judged. bytes_out: an
    estimate. With 1 a request passes while anything is left.
    """

    units: int
    tokens: int = 0
    usd: int | None = 0
    bytes_out: int = 1

    def of(self, counted: Of) -> int:
        """Return the amount of one of the things that limits count. Raises UnknownPrice."""
        if counted is Of.REQUESTS:
            return self.units
        if counted is Of.TOKENS:
            return self.tokens
        if counted is Of.BYTES_OUT:
            return self.bytes_out
        if self.usd is None:
            raise UnknownPrice("the settings have no prices in force, and the key has a budget")
        return self.usd


Cost = int | Amounts
"""The cost of one request. A number is its cost in units, with no tokens and no money."""

ONE_OF_EACH: Final = Amounts(1, 1, 1)
"""The smallest request that takes from every limit."""


def units_of(cost: Cost) -> int:
    """Return the cost in units, which usage records call `charged`."""
    return cost.units if isinstance(cost, Amounts) else cost


def micro_dollars(field: str, text: str) -> int:
    """Parse dollars such as `12.50` into micro-dollars.

    Raises BadInput unless they are 0.000001 to MAX_DOLLARS (1,000,000), with at most six digits
    after the point. `field` names the setting in the message.
    """
    match = _DOLLARS.fullmatch(text)
    micro = int(match[1]) * MICRO + int((match[2] or "").ljust(6, "0")) if match else 0
    if not 0 < micro <= MAX_DOLLARS * MICRO:
        raise BadInput(
            field, f"{shown(text)}: a budget is 0.000001 to {MAX_DOLLARS} dollars, such as 12.50"
        )
    return micro


def dollars(micro: int) -> str:
    """Return micro-dollars as dollars with at least two digits after the point.

    `micro_dollars` parses it to the same number.
    """
    whole, rest = divmod(micro, MICRO)
    return f"{whole}.{f'{rest:06}'.rstrip('0').ljust(2, '0')}"
