"""Arguments and options that several commands share, and the parsers of their values.

An error names the option and shows a good value, in one line.
"""

import re
from collections.abc import Callable, Iterable
from typing import Final

import click

from authz.core import fields
from authz.core.errors import BadInput
from authz.core.keys.pasted import named_kid
from authz.core.limits.amounts import Of
from authz.core.limits.limit import OnOutage

MAX_PATH: Final = 4095  # characters, as Linux takes
MAX_PROCESSES: Final = 64
_PROCESSES: Final = re.compile(r"[1-9]|[1-5]\d|6[0-4]", re.ASCII)
_ANY_PREFIX: Final = "[a-z][a-z0-9]{1,11}"  # of a key


def _kid(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    if named := named_kid(value, _ANY_PREFIX):  # a key that was cut off; a whole one is refused
        raise BadInput("KID", f"is a part of a key; its kid is {named}")
    return fields.kid("KID", value)


def _note(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    return fields.line("--note", value)


def process_count(_context: click.Context, _parameter: click.Parameter, value: str) -> int:
    """Parse the number of processes of `--processes`. Raises BadInput unless it is 1 to 64."""
    if not _PROCESSES.fullmatch(value):
        problem = f"a number from 1 to {MAX_PROCESSES}, such as 4"
        raise BadInput("--processes", f"{fields.shown(value)}: {problem}")
    return int(value)


kid_argument = click.argument("kid", callback=_kid)
optional_kid_argument = click.argument("kid", callback=_kid, required=False)
note_option = click.option(
    "--note", metavar="TEXT", default="", callback=_note, help="Reason for the audit trail."
)


outage_grace_option = click.option(
    "--outage-grace",
    metavar="DURATION",
    help="How long the key works during a store outage; 0: not at all.",
)
plan_option = click.option("--plan", metavar="NAME", help="Limits of this plan of the settings.")


def budget_text(text: str) -> str:
    """Return the limit that `--budget` means: of dollars, unless the text says of what."""
    return text if ",of=" in text else f"{text},of={Of.USD}"


budget_option = click.option(
    "--budget",
    multiple=True,
    metavar="BUDGET",
    help="A budget of dollars: 12.50/month, 100/once. Repeatable.",
)
budget_change_option = click.option(
    "--budget",
    metavar="CHANGE",
    help="A budget of dollars: 25/month sets it, +10/month tops it up.",
)
limit_option = click.option(
    "--limit",
    metavar="LIMIT",
    multiple=True,
    help="A limit: 10/s, 50/s,burst=100, 10/week, 1000000/month@15. Repeatable.",
)
new_credits_option = click.option(
    "--credits", metavar="N", help="Units that the key may use in all, until they are refilled."
)
credits_option = click.option(
    "--credits",
    metavar="CHANGE",
    help="Units that the key may use in all: 20000 sets the total, +5000 adds, none removes it.",
)
on_outage_option = click.option(
    "--on-outage",
    type=click.Choice([word.value for word in OnOutage]),
    help="How to limit during a store outage.",
)


def path_such_as(good: str) -> Callable[..., str | None]:
    """Return a click callback that accepts a printable path, or None for an absent option.

    It raises BadInput with the example `good` for an empty or unprintable path, or one over
    MAX_PATH (4095) characters.
    """

    def read(_context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
        if value is None or (0 < len(value) <= MAX_PATH and value.isprintable()):
            return value
        raise BadInput(parameter.opts[0], f"{fields.shown(value)} is not a path, such as {good}")

    return read


def plan(field: str, text: str, known: Iterable[str]) -> str:
    """Return the plan name.

    Raises BadInput about `field` if it is not an identifier or not in `known`.
    """
    name = fields.identifier(field, text)
    if name not in known:
        there = (
            f"there are {', '.join(sorted(known))}"
            if known
            else "they define none: add it to `plans`"
        )
        raise BadInput(field, f"{fields.shown(text)} is not a plan of the settings; {there}")
    return name


def optional_id(field: str, text: str | None) -> str:
    """Return the id, or an empty text for None. Raises BadInput about `field` for an invalid id."""
    return "" if text is None else fields.identifier(field, text)


def scopes(field: str, given: tuple[str, ...]) -> frozenset[str]:
    """Return the scopes of a repeated option; empty if it was not given.

    Raises BadInput about `field` for a space or a comma, as in a list, and for an invalid scope.
    """
    for text in given:
        if " " in text or "," in text:
            raise BadInput(
                field,
                f"{fields.shown(text)}: give one scope at a time, such as {field} a {field} b",
            )
    return fields.scopes(field, given)


def metadata(field: str, given: tuple[str, ...]) -> dict[str, str]:
    """Return `name=value` pairs as a dictionary; empty for no pairs. A value may hold a `=`.

    Raises BadInput about `field` for a text without `=`, a repeated name, or an invalid name or
    value.
    """
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise BadInput(field, f"{fields.shown(text)} is not name=value, such as team=web")
        if name in found:
            raise BadInput(field, f"{fields.shown(name)} is given twice")
        found[name] = value
    return fields.metadata(field, found)
