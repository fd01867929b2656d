"""Changes of a key's credits: its limit of the name `credits`, whose period is `once`.

A refill raises the limit. The used units are never set back, so `limit - used` units are left.
"""

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from authz.core.errors import BadInput
from authz.core.fields import shown
from authz.core.limits.limit import MAX_QUOTA, Limit
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

    The total is the limit, so used units stay used. KEEP: the credits stay if new limits without
    credits replace the old ones.
    """

    how: How
    units: int = 0

    @property
    def is_relative(self) -> bool:
        """True if the change made twice has another effect than the change made once."""
        return self.how is How.ADD

    def problem(self, before: tuple[Limit, ...]) -> str:
        """Return why the change is not possible for a key with these limits, or an empty text.

        Setting or removing credits that the key does not have is possible.
        """
        known = _own(before)
        if self.how is How.KEEP:
            return ""
        if known is not None and not known.never_resets:
            return f"its limit credits is {known}, which is no credit; change it with --limit"
        if self.how is How.ADD and known is None:
            return "it has no credits of its own to add to; set their total, as in --credits 5000"
        if self.how is How.ADD and known and known.limit + self.units > MAX_QUOTA:
            return f"it has {known.limit} credits; the total may be {MAX_QUOTA}"
        return ""

    def applied(self, before: tuple[Limit, ...], limits: tuple[Limit, ...]) -> tuple[Limit, ...]:
        """Return `limits` with the changed credits, in place of those that it has or at the end.

        before: the limits of the key, for which `problem` is empty. limits: the same, or those that
        replace them. KEEP adds the credits of `before` if `limits` has none.
        """
        known, own = _own(before), _own(limits)
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
        if known is None:
            return Limit(name=CREDITS, limit=self.units, per=ONCE)
        return replace(known, limit=self.units + (known.limit if self.how is How.ADD else 0))


KEEP_CREDITS: Final = CreditsChange(How.KEEP)


def parse_credits_change(field: str, text: str) -> CreditsChange:
    """Parse `20000` (the new total), `+5000` (more) or `none`. Raises BadInput for other text."""
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


def credits_limit(field: str, text: str) -> str:
    """Return the text of the limit for `text` credits of a new key: `10000/once` for 10000.

    Raises BadInput unless it is a whole number from 1 to MAX_QUOTA.
    """
    match = _CHANGE.fullmatch(text)
    if match is None or match[1] or int(text) > MAX_QUOTA:
        raise BadInput(field, f"{shown(text)}: credits are a whole number from 1 to {MAX_QUOTA}")
    return f"{text}/{ONCE}"


def _own(limits: tuple[Limit, ...]) -> Limit | None:
    return next((limit for limit in limits if limit.name == CREDITS), None)
