"""`authz compact`."""

from dataclasses import asdict
from typing import Any, Final

import click

from authz.cli.administration import stored_settings
from authz.cli.invocation import Invocation, common, write_stderr
from authz.cli.session_loop import run_interruptible
from authz.cli.terminal import escaped
from authz.core.errors import BadInput, Conflict
from authz.wiring import compacting

MAX_SHOWN: Final = 20
STEP: Final = 10_000  # records between two lines of progress


@click.command()
@click.option("--dry-run", is_flag=True, help="Count the records and change nothing.")
@click.option("--undo", is_flag=True, help="Write all records as earlier versions read them.")
@click.option(
    "--force", is_flag=True, help="Also if a sidecar is registered that cannot read the result."
)
@common
@click.pass_obj
def compact(invocation: Invocation, *, dry_run: bool, undo: bool, force: bool) -> int:
    """Write all records in the compact form: a fifth of the memory.

    The indexes of keys get short ids, too. Earlier versions cannot read either: their sidecars
    answer 503 for each key that they do not have in their cache, and their commands fail. Update
    everything first. The command refuses to start while a sidecar of an earlier version is
    registered. Later changes write compact records, too.

    Keys keep working meanwhile, and other commands may run. It may be interrupted and repeated. A
    damaged record is named and stays as it is; then it exits with 1. --undo is for a roll back to
    an earlier version.

    \b
    Examples:
      authz compact --dry-run
      authz compact
      authz compact --undo
    """
    if undo and force:
        raise BadInput("--force", "is not needed with --undo")
    settings = stored_settings(invocation)
    shown = 0

    def progress(found: compacting.Compacted) -> None:
        nonlocal shown
        if found.looked_at - shown >= STEP:
            shown = found.looked_at
            write_stderr(f"{shown} records looked at, {found.written} written")

    work = compacting.compact(settings, progress, to_hashes=undo, dry_run=dry_run, is_forced=force)
    try:
        found = run_interruptible(work)
    except Conflict as cause:
        raise click.ClickException(str(cause)) from None
    refused = [{"kid": kid, "why": why} for kid, why in found.refused.items()]
    document: dict[str, Any] = {**asdict(found), "refused": refused, "dry_run": dry_run}
    invocation.answer(document, _text(found, dry_run=dry_run, undo=undo))
    return 1 if found.refusals else 0


def _text(found: compacting.Compacted, *, dry_run: bool, undo: bool) -> str:
    form = "as a hash" if undo else "in the compact form"
    verb = "would be written" if dry_run else "written"
    ids = "whole" if undo else "short"
    lines = [
        f"{found.looked_at} records looked at, {found.written} {verb} {form}",
        f"{found.indexed} ids in the index of all keys {verb} {ids}",
    ]
    lines += [f"stays as it is: {escaped(why)}" for why in list(found.refused.values())[:MAX_SHOWN]]
    if found.refusals > MAX_SHOWN:
        lines.append(f"and {found.refusals - MAX_SHOWN} more; --json has 1000 of them")
    return "\n".join(lines)
