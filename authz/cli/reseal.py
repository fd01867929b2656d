"""`authz reseal`."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import click

from authz.cli.actor import actor
from authz.cli.administration import stored_settings
from authz.cli.invocation import Invocation, common, write_stderr
from authz.cli.options import note_option
from authz.cli.session_loop import run_interruptible
from authz.cli.terminal import escaped
from authz.core import fields
from authz.core.errors import BadInput, Conflict
from authz.wiring import resealing

MAX_SHOWN: Final = 20
STEP: Final = 10_000  # records between two lines of progress


@click.command()
@click.option("--dry-run", is_flag=True, help="Check all seals and change nothing.")
@click.option(
    "--accept",
    metavar="KID",
    multiple=True,
    help="Seal this record as it is, though its seal is wrong; again for each.",
)
@note_option
@common
@click.pass_obj
def reseal(invocation: Invocation, *, dry_run: bool, accept: Sequence[str], note: str) -> int:
    """Seal all records against changes without the pepper.

    Records of earlier versions have no seal. This command seals them with the newest pepper, and
    also the entries in which `authz apply` keeps what files declared. Then it marks the store: from
    then on a record without a seal is refused with 503. Update everything that writes keys first.
    It may be interrupted, repeated, and run beside other commands. Set keys.require_seals
    afterwards, because the mark is in the store.

    A record with a wrong seal, and one without a seal in a marked store, is refused and named. If
    it is as it should be, --accept KID seals it, with an entry in the audit trail. Exits with 1 if
    any is refused.

    \b
    Examples:
      authz reseal
      authz reseal --dry-run --json | jq .refused
      authz reseal --accept 7Hk2mQ9xT4bVzR1c --note "restored by hand"
    """
    if accept and dry_run:
        raise BadInput("--dry-run", "cannot be with --accept")
    for kid in accept:
        fields.kid("--accept", kid)
    settings = stored_settings(invocation)
    if accept:
        try:
            accepted = run_interruptible(resealing.accept(settings, accept, actor(), note))
        except Conflict as cause:
            raise click.ClickException(str(cause)) from None
        text = "\n".join(f"{one.kid}: sealed as it is, {one.status.value}" for one in accepted)
        invocation.answer({"accepted": [one.kid for one in accepted]}, text)
        return 0
    shown = 0

    def progress(found: resealing.Resealed) -> None:
        nonlocal shown
        if found.looked_at - shown >= STEP:
            shown = found.looked_at
            write_stderr(f"{shown} records looked at, {found.sealed} sealed")

    found = run_interruptible(resealing.reseal(settings, progress, dry_run=dry_run))
    both = (found.refused, found.refused_applied)
    refused, refused_applied = ([{"kid": kid, "why": one[kid]} for kid in one] for one in both)
    document: dict[str, Any] = {
        **asdict(found),
        "refused": refused,
        "refused_applied": refused_applied,
        "dry_run": dry_run,
    }
    invocation.answer(document, _text(found, dry_run=dry_run))
    return 1 if found.refusals else 0


def _text(found: resealing.Resealed, *, dry_run: bool) -> str:
    verb = "would be sealed" if dry_run else "sealed"
    lines = [f"{found.looked_at} records looked at, {found.sealed} {verb}"]
    if found.applied:
        lines.append(f"{found.applied} applied entries looked at, {found.applied_sealed} {verb}")
    refused = [*found.refused.values(), *found.refused_applied.values()]
    lines += [f"refused: {escaped(why)}" for why in refused[:MAX_SHOWN]]
    if found.refusals > MAX_SHOWN:
        lines.append(f"and {found.refusals - MAX_SHOWN} more; --json has 1000 of them")
    mark = "refused" if found.marked else "accepted, until `authz reseal` has marked the store"
    return "\n".join([*lines, f"records without a seal are {mark}"])
