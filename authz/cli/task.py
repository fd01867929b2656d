"""Task: a change of one key or of many, for bulk.py, and the options of commands that have one."""

from __future__ import annotations  # the types are for readers and checkers alone

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from authz.cli.invocation import with_options

if TYPE_CHECKING:
    from authz.core.edits import Edit
    from authz.flows.bulk_change import Step

DONE, FAILED = 0, 1

_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Task:
    """A change of many keys, and its words: `revoke`, `revoking`, `revoked`, `already revoked`.

    suffix: ends the question. keeps_looking: also change keys that are issued meanwhile. on_step:
    is called with the outcome of each key.
    """

    edit: Edit
    verb: str
    going: str
    past: str
    already: str
    suffix: str = ""
    keeps_looking: bool = False
    on_step: Callable[[Step], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class Consent:
    """The options --yes and --dry-run: change without asking, and print the changes alone."""

    agreed: bool
    rehearsal: bool


def bulk_options(command: _Command) -> _Command:
    """Add `--yes` and `--dry-run`. The command gets both as one argument `consent`."""

    @functools.wraps(command)
    def with_consent(*arguments: Any, yes: bool, dry_run: bool, **options: Any) -> Any:
        return command(*arguments, consent=Consent(yes, dry_run), **options)

    options = (
        click.option("--yes", is_flag=True, help="Many keys: do not ask for confirmation."),
        click.option("--dry-run", is_flag=True, help="Many keys: print the changes, make none."),
    )
    return cast("_Command", with_options(with_consent, options))
