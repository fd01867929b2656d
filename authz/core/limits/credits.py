"""Changes of a key's credits: its limit of the name `credits`, whose period is `once`.

A refill raises the limit. The used units are never set back, so `limit - used` units are left. A
budget of the key can be set and topped up in the same way.
"""

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from authz.core.errors import BadInput
from authz.core.fields import shown
from authz.core.limits.limit import MAX_QUOTA, Limit, parse_limit
from authz.core.limits.periods import ONCE

CREDITS: Final = ONCE.name  # the name of the limit
NONE: Final = "none"

_CHANGE: Final = re.compile(r"(\+?)([1-9][0-9]{0,12})", re.ASCII)


class How(StrEnum):
    """The kinds of changes: keep the credits, raise their total, set it, or remove the limit."""

    KEEP = "keep"
    ADD = "add"
    SET = "set"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class CreditsChange:
    """A change of the credits of one key. units: 1 to MAX_QUOTA for ADD and SET, else 0.

    budget: the budget that is changed in place of the credits, with `units` as its limit.

    The total is the limit, so used units stay used. KEEP: the credits stay if new limits without
    credits replace the old ones.
    """

    how: How
    units: int = 0
    budget: Limit | None = None

    def __str__(self) -> str:
        """Return the text of this change, as requests have it."""
        if self.how in {How.KEEP, How.REMOVE}:
            return self.how.value if self.how is How.KEEP else NONE
        return f"{'+' if self.how is How.ADD else ''}{self.budget or self.units}"

    @property
    def name(self) -> str:
        """The name of the limit that is changed."""
        return self.budget.name if self.budget else CREDITS

    @property
    def is_relative(self) -> bool:
        """True if the change made twice has another effect than the change made once."""
        return self.how is How.ADD

    def problem(self, before: tuple[Limit, ...]) -> str:
        """Return why the change is not possible for a key with these limits, or an empty text.

        Setting or removing credits that the key does not have is possible.
        """
        known = _own(before, self.name)
        if self.budget is not None:
            return self._problem_of_budget(self.budget, known)
        if self.how is How.KEEP:
            return ""
        if known is not None and not known.never_resets:
            return f"its limit credits is {known}, which is no credit; change it with --limit"
        if self.how is How.ADD and known is None:
            return "it has no credits of its own to add to; set their total, as in --credits 5000"
        if self.how is How.ADD and known and known.limit + self.units > MAX_QUOTA:
            return f"it has {known.limit} credits; the total may be {MAX_QUOTA}"
        return ""

    def _problem_of_budget(self, budget: Limit, known: Limit | None) -> str:
        if known is not None and (known.per, known.of) != (budget.per, budget.of):
            return f"its limit {known.name} is {known}, which is another; change it with --limit"
        if self.how is How.ADD and known is None:
            return f"it has no budget {budget.name} of its own to add to; set its total"
        if self.how is How.ADD and known and known.limit + self.units > MAX_QUOTA:
            return f"its budget {budget.name} would be above {MAX_QUOTA}"
        return ""

    def applied(self, before: tuple[Limit, ...], limits: tuple[Limit, ...]) -> tuple[Limit, ...]:
        """Return `limits` with the changed credits, in place of those that it has or at the end.

        before: the limits of the key, for which `problem` is empty. limits: the same, or those that
        replace them. KEEP adds the credits of `before` if `limits` has none.
        """
        known, own = _own(before, self.name), _own(limits, self.name)
        if self.how is How.KEEP:
            is_lost = own is None and known is not None and known.never_resets
            return (*limits, known) if known is not None and is_lost else limits
        wanted = self._wanted(known)
        if wanted is not None and own is None:
            return (*limits, wanted)
        changed = (wanted if limit is own else limit for limit in limits)
        return tuple(limit for limit in changed if limit is not None)

    def _wanted(self, known: Limit | None) -> Limit | None:
        if self.how is How.REMOVE:
            return None
        if self.budget is not None and (known is None or self.how is How.SET):
            return self.budget
        if known is None:
            return Limit(name=CREDITS, limit=self.units, per=ONCE)
        return replace(known, limit=self.units + (known.limit if self.how is How.ADD else 0))


KEEP_CREDITS: Final = CreditsChange(How.KEEP)


def parse_credits_change(field: str, text: str) -> CreditsChange:
    """Parse `20000` (the new total), `+5000` (more) or `none`. Raises BadInput for other text.

    With a period it is a budget: `25/month,of=usd` sets it, `+10/month,of=usd` tops it up.
    """
    if "/" in text:
        return parse_budget_change(field, text)
    if text == NONE:
        return CreditsChange(How.REMOVE)
    match = _CHANGE.fullmatch(text)
    if match is None or int(match[2]) > MAX_QUOTA:
        raise BadInput(
            field,
            f"{shown(text)}: a total such as 20000, more such as +5000, or {NONE}; "
            f"at most {MAX_QUOTA}",
        )
    return CreditsChange(How.ADD if match[1] else How.SET, int(match[2]))


def parse_budget_change(field: str, text: str) -> CreditsChange:
    """Parse `25/month,of=usd` (the new total) or `+10/month,of=usd` (more).

    Raises BadInput for other text, and for a limit that is no budget.
    """
    budget = parse_limit(field, text.removeprefix("+"))
    if not budget.is_budget:
        raise BadInput(field, f"{shown(text)}: a budget says of=tokens, of=usd or of=bytes_out")
    return CreditsChange(How.ADD if text[0] == "+" else How.SET, budget.limit, budget)


def credits_limit(field: str, text: str) -> str:
    """Return the text of the limit for `text` credits of a new key: `10000/once` for 10000.

    Raises BadInput unless it is a whole number from 1 to MAX_QUOTA.
    """
    match = _CHANGE.fullmatch(text)
    if match is None or match[1] or int(text) > MAX_QUOTA:
        raise BadInput(field, f"{shown(text)}: credits are a whole number from 1 to {MAX_QUOTA}")
    return f"{text}/{ONCE}"


def _own(limits: tuple[Limit, ...], name: str) -> Limit | None:
    return next((limit for limit in limits if limit.name == name), None)
