"""Limit: the units that a key may use in a time.

    10/s   300/min   5000/h   50000/d       in any second, minute, ... wherever it begins
    100000/calendar-day                     from midnight to midnight
    1000000/month@15                        from the 15th to the 15th
    10/week   10/week@sunday                from Monday (ISO 8601) or Sunday on
    5000/year   5000/year@04-01             from 1 January or 1 April on
    10000/once                              in all: credits, which a larger limit refills
    nightly=500/calendar-day,zone=Europe/Berlin
    10/s,burst=3,cost_of=request,enforce=false
    50/s,burst=100                          a token bucket: 100 at once, refilled with 50 a second
    1000000/month,of=tokens                 a budget of tokens
    12.50/month,of=usd                      a budget of money, in dollars
    500000000/month,of=bytes_out            a budget of bytes of response bodies

The text is `[NAME=]LIMIT/PERIOD[,OPTION=VALUE]...`. A limit without a name is called by its period
(`second`, `month`; `credits` for `once`), so a key's `20/s` takes the place of the `10/s` of its
plan. A budget has its unit in front (`tokens-month`, `usd-credits`).

    burst     at most this many units at once; the rest is spread evenly over the window. Above
              the limit it is a token bucket: a window may hold the burst and the limit
    cost_of   unit (default): a request takes its cost; request: it takes 1. A request of cost 0
              takes nothing in both cases
    of        requests (default); tokens, usd or bytes_out: a budget, of which a request takes
              the estimate of its route, until its log entry says the real use. For the calendar
              and `once` alone
    enforce   false: count and report a refusal, but let the request pass
    zone      time zone of the calendar; default UTC
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from authz.core.errors import BadInput
from authz.core.fields import shown
from authz.core.limits import periods
from authz.core.limits.amounts import Amounts, Cost, Of, dollars, micro_dollars
from authz.core.limits.periods import Calendar, Once, Period, Sliding

MAX_LIMIT: Final = 1_000_000_000  # in a sliding window
MAX_QUOTA: Final = 1_000_000_000_000  # in a period of the calendar, and of credits
MAX_LIMITS: Final = 8  # of one key, plan or pool
MAX_COST: Final = 1_000_000

_NAME = re.compile(r"[a-z][a-z0-9._-]{0,31}", re.ASCII)
_NUMBER = re.compile(r"[1-9][0-9]{0,12}", re.ASCII)
_OPTIONS: Final = ("burst", "cost_of", "enforce", "of", "zone")


class CostOf(StrEnum):
    """The units that a request takes from a limit: 1, or its cost."""

    REQUEST = "request"
    UNIT = "unit"


class OnOutage(StrEnum):
    """The limits of a key during a store outage."""

    LOCAL = "local"  # each sidecar counts the requests that it lets pass itself
    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """At most `limit` units in any window of `per`, in each calendar period, or ever (Once).

    burst: 1 to MAX_LIMIT, for sliding windows only. None: the whole limit may be used at once.
    Above `limit` it is the size of a token bucket, which refills at the rate of the limit.
    of: what is counted. A limit of USD is in micro-dollars.
    """

    name: str
    limit: int
    per: Period
    burst: int | None = None
    cost_of: CostOf = CostOf.UNIT
    enforce: bool = True
    of: Of = Of.REQUESTS

    def __str__(self) -> str:
        """Return the text of this limit, which `parse_limit` parses to an equal one."""
        text = f"{dollars(self.limit) if self.of is Of.USD else self.limit}/{self.per}"
        if self.name != _usual_name(self.of, self.per):
            text = f"{self.name}={text}"
        if self.burst is not None:
            text += f",burst={self.burst}"
        if self.of is not Of.REQUESTS:
            text += f",of={self.of}"
        if self.cost_of is not CostOf.UNIT:
            text += f",cost_of={self.cost_of}"
        if not self.enforce:
            text += ",enforce=false"
        if isinstance(self.per, Calendar) and self.per.zone != "UTC":
            text += f",zone={self.per.zone}"
        return text

    @property
    def is_token_bucket(self) -> bool:
        """True if the burst is above the limit, so that no window bounds the units."""
        return self.burst is not None and self.burst > self.limit

    @property
    def capacity(self) -> int:
        """The most units that can be used at all: `limit`, or the burst of a token bucket.

        A burst below the limit does not count.
        """
        return max(self.limit, self.burst or 0)

    @property
    def is_quota(self) -> bool:
        """True for a calendar quota and for credits, False for a rate."""
        return not isinstance(self.per, Sliding)

    @property
    def never_resets(self) -> bool:
        """True for credits: units that are used never come back by themselves."""
        return isinstance(self.per, Once)

    @property
    def is_budget(self) -> bool:
        """True if the real use is known only after the response: of tokens, money or bytes."""
        return self.of is not Of.REQUESTS

    def charge(self, cost: Cost) -> int:
        """Return how much a request of `cost` takes from this limit.

        Units; 0 or 1 for CostOf.REQUEST; for a budget the estimate, 0 without one. Raises
        UnknownPrice for a budget of money if no prices are in force.
        """
        amounts = cost if isinstance(cost, Amounts) else Amounts(cost, bytes_out=min(cost, 1))
        if self.is_budget:
            return amounts.of(self.of)
        return amounts.units if self.cost_of is CostOf.UNIT else min(amounts.units, 1)


def parse_limit(field: str, text: str) -> Limit:
    """Parse one limit, in the format of the module's docstring.

    Raises BadInput if any part of it is wrong; `field` names the setting in the message.
    """
    amount_of, slash, rest = text.partition("/")
    per_text, *given = rest.split(",")
    name, equals, amount = amount_of.rpartition("=")
    is_number = _is_whole(amount.replace(".", "", 1) if f"of={Of.USD}" in given else amount)
    if not (slash and per_text and (name or not equals) and is_number):
        raise BadInput(
            field, f"{shown(text)} is not a limit, such as 10/s, 5000/h or 1000000/month@15"
        )
    options = _options(field, given)
    per = periods.parse(field, per_text, options.get("zone", ""))
    of = _of(field, options, per)
    if of is Of.USD:
        limit = micro_dollars(field, amount)
    else:
        limit = _amount(field, text, amount, MAX_LIMIT if isinstance(per, Sliding) else MAX_QUOTA)
    return Limit(
        name=parse_limit_name(field, name) if name else _usual_name(of, per),
        limit=limit,
        per=per,
        burst=_burst(field, options["burst"], per) if "burst" in options else None,
        cost_of=_cost_of(field, options.get("cost_of", CostOf.UNIT)),
        enforce=_enforce(field, options.get("enforce", "true")),
        of=of,
    )


def parse_limits(field: str, given: Iterable[str]) -> tuple[Limit, ...]:
    """Parse the limits of one key, plan or pool, in their order; `()` if none are given.

    Raises BadInput if a limit is wrong, two have the same name, or there are more than 8.
    """
    found = tuple(parse_limit(field, text) for text in given)
    names = [limit.name for limit in found]
    for name in names:
        if names.count(name) > 1:
            raise BadInput(field, f"two limits are called {name}; name one, as in other=10/s")
    if len(found) > MAX_LIMITS:
        raise BadInput(field, f"at most {MAX_LIMITS} limits")
    return found


def parse_limit_name(field: str, text: str) -> str:
    """Return the name of a limit unchanged, which callers of the protected API see.

    Raises BadInput unless it is 1 to 32 of a-z 0-9 . _ - and begins with a letter.
    """
    if not _NAME.fullmatch(text):
        raise BadInput(field, f"{shown(text)}: a name is 1 to 32 of a-z 0-9 . _ -, such as burst")
    return text


def parse_cost(field: str, text: str) -> int:
    """Parse the cost of a request: 0 to 1000000 units. Raises BadInput for any other text."""
    if not (text == "0" or _NUMBER.fullmatch(text)) or int(text) > MAX_COST:
        raise BadInput(field, f"{shown(text)}: a cost is a whole number from 0 to {MAX_COST}")
    return int(text)


def parse_on_outage(field: str, text: str) -> OnOutage:
    """Parse `local`, `allow` or `deny`. Raises BadInput for any other text."""
    try:
        return OnOutage(text)
    except ValueError:
        raise BadInput(field, f"{shown(text)}: one of {', '.join(OnOutage)}") from None


def _is_whole(text: str) -> bool:
    """Return whether the text is decimal digits, with or without a minus in front.

    The range is checked later, with a message of its own.
    """
    return text.isascii() and text.removeprefix("-").isdecimal()


def _usual_name(of: Of, per: Period) -> str:
    return per.name if of is Of.REQUESTS else f"{of}-{per.name}"


def _of(field: str, options: Mapping[str, str], per: Period) -> Of:
    text = options.get("of", Of.REQUESTS)
    try:
        of = Of(text)
    except ValueError:
        raise BadInput(field, f"of={shown(text)}: one of {', '.join(Of)}") from None
    if of is not Of.REQUESTS and isinstance(per, Sliding):
        raise BadInput(field, f"of={of} goes with calendar-day, week, month, year or once")
    if of is not Of.REQUESTS and "cost_of" in options:
        raise BadInput(field, "cost_of goes with requests; a budget takes what its route says")
    return of


def _amount(field: str, whole: str, text: str, most: int) -> int:
    if not _NUMBER.fullmatch(text) or int(text) > most:
        raise BadInput(field, f"{shown(whole)}: a limit is a whole number from 1 to {most}")
    return int(text)


def _options(field: str, given: Iterable[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for option in given:
        name, _, value = option.partition("=")
        if name not in _OPTIONS or name in options or not value:
            raise BadInput(
                field, f"{shown(option)}: after the period come {', '.join(_OPTIONS)}, as burst=5"
            )
        options[name] = value
    return options


def _burst(field: str, text: str, per: Period) -> int:
    if not isinstance(per, Sliding):
        raise BadInput(field, f"a burst goes with s, min, h or d, not with {per}")
    if not _NUMBER.fullmatch(text) or int(text) > MAX_LIMIT:
        raise BadInput(field, f"burst={shown(text)}: a burst is from 1 to {MAX_LIMIT}")
    return int(text)


def _cost_of(field: str, text: str) -> CostOf:
    try:
        return CostOf(text)
    except ValueError:
        raise BadInput(field, f"cost_of={shown(text)}: one of {', '.join(CostOf)}") from None


def _enforce(field: str, text: str) -> bool:
    if text not in {"true", "false"}:
        raise BadInput(field, f"enforce={shown(text)}: true or false")
    return text == "true"
