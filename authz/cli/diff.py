"""`authz diff`: compare a file of keys with the store."""

import click

from authz.cli import declared
from authz.cli.apply import (
    DIFFERENT,
    DONE,
    file_option,
    overwrite_option,
    prune_option,
)
from authz.cli.color import difference
from authz.cli.comparison import check_plans, compare
from authz.cli.invocation import Invocation, common, write_error
from authz.cli.terminal import escaped


@click.command()
@file_option
@prune_option
@overwrite_option
@common
@click.pass_obj
def diff(invocation: Invocation, /, *, path: str, prune: bool, overwrite: bool) -> int:
    """Print the changes that `authz apply` would make. Exit with 1 if there are any.

    + is a new key, ~ a field to be set, - a key to be revoked, = a change of the store that stays.
    Conflicts go to stderr, and the exit code is 1 too.

    \b
    Examples:
      authz diff -f keys.yaml
      authz diff -f keys.yaml --prune --json | jq .changed
    """
    file = declared.load(path)
    check_plans(invocation, path, file)
    found = compare(invocation, file, prune=prune, overwrites=overwrite)
    lines = [difference(escaped(line)) for line in (*found.lines(), *found.kept())]
    invocation.answer(found.document(), "\n".join(lines) or "no changes")
    if not invocation.as_json:
        for line in found.problems:
            write_error(line, "conflict")
    return DIFFERENT if found.is_different else DONE
