"""The units that a request took from budgets, as text of its usage record.

    k!800!1767225600000!tokens-month~month~tokens~UTC;t!2400!...;o!RYZ1x0aQ3mS8cVn5bT2kLw

A part for each budget: k, p or t for the key, its project or its tenant; the units taken; the first
millisecond after the period; the name of the counter with `~` for blanks. A last part has the
name of a request that is charged once; see charge_once.py. The text has no blank, so that it is one
field of a line.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from authz.core.limits.counters import BudgetCounter
from authz.core.limits.key_limits import LimitGroup, Owner

MAX_TEXT: Final = 4096  # characters; 24 budgets take less

_LETTERS: Final = {Owner.KEY: "k", Owner.PROJECT: "p", Owner.TENANT: "t"}
_OWNERS: Final = {letter: owner for owner, letter in _LETTERS.items()}
_PART: Final = re.compile(
    r"([kpt])!([1-9][0-9]{0,9})!([1-9][0-9]{0,13})"
    r"!([a-z][a-z0-9._-]{0,31}~[a-z0-9@-]{1,20}~(?:tokens|usd|bytes_out)(?:~[A-Za-z0-9/_+-]{1,64})?)",
    re.ASCII,
)

_ONCE: Final = re.compile(r"o!([A-Za-z0-9_-]{22})", re.ASCII)


class Taken(NamedTuple):
    """Units taken from one budget. ends_ms: the end of its period, in ms since the epoch.

    counter: the name of the counter among those of its owner.
    """

    owner: Owner
    units: int
    ends_ms: int
    counter: str


def taken_from(group: LimitGroup, counter: BudgetCounter) -> Taken:
    """Return the units that a request takes from a budget of a group."""
    return Taken(group.owner, counter.charge, counter.ends_ms, counter.field)


def reserved_text(taken: Sequence[Taken]) -> str:
    """Return the text of what was taken; empty if it is nothing."""
    return ";".join(
        f"{_LETTERS[each.owner]}!{each.units}!{each.ends_ms}!{each.counter.replace(' ', '~')}"
        for each in taken
    )


def charged_once_text(text: str, name: str) -> str:
    """Return the text of what a request took that is charged once; empty if it took nothing.

    text: as `reserved_text` returns it. name: of the request.
    """
    return f"{text};o!{name}" if text else ""


def parse_reserved(text: str) -> tuple[tuple[Taken, ...], str]:
    """Return what was taken, and the name of a request that is charged once, empty for others.

    Raises ValueError if a part is not valid.
    """
    if not text:
        return (), ""
    if len(text) > MAX_TEXT:
        raise ValueError("too long")
    parts = text.split(";")
    match = _ONCE.fullmatch(parts[-1])
    return tuple(map(_part, parts[:-1] if match else parts)), match[1] if match else ""


def _part(text: str) -> Taken:
    match = _PART.fullmatch(text)
    if match is None:
        raise ValueError("not a part of a reservation")
    letter, units, ends_ms, counter = match.groups()
    return Taken(_OWNERS[letter], int(units), int(ends_ms), counter.replace("~", " "))
