"""`authz restore`."""

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from authz.cli import storestate
from authz.cli.actor import actor
from authz.cli.administration import stored_settings
from authz.cli.invocation import Invocation, common
from authz.cli.options import path_such_as
from authz.cli.session_loop import run_interruptible
from authz.cli.terminal import escaped
from authz.core.errors import BadInput, Conflict
from authz.storage.restore import Restored
from authz.storage.sealed_lines import FileRefused
from authz.wiring import backups


@click.command()
@click.argument("file", metavar="FILE", callback=path_such_as("authz.backup"))
@click.option(
    "--deletions",
    metavar="FILE",
    callback=path_such_as("later.backup"),
    help="A later backup: leave out the keys that were deleted until then.",
)
@common
@click.pass_obj
def restore(invocation: Invocation, file: str, deletions: str | None) -> None:
    """Write a backup into an empty store.

    Kids, versions and history stay as they were. Changes after the backup are lost, revocations
    too: revoke these keys again. The whole file is verified before anything is written. The
    sequence continues above the highest change that a sidecar has seen. A key that was deleted
    before the backup stays deleted. --deletions takes later deletions from a later backup. Keys
    that sign tokens are not in a backup: make one with `authz tokens keys rotate`.

    \b
    Examples:
      authz restore /var/backups/authz-2026-11-28
      authz restore authz.backup --json | jq .lost_changes
      authz restore last-week.backup --deletions today.backup
    """
    settings = stored_settings(invocation)
    known = storestate.known_change(settings) or 0
    try:
        with ExitStack() as stack:
            opened = stack.enter_context(Path(file).open("rb"))
            if not opened.seekable():
                raise BadInput("FILE", f"{file} is a pipe, and a restore reads its file twice")
            later = stack.enter_context(Path(deletions).open("rb")) if deletions else None
            done = run_interruptible(backups.restore(settings, opened, known, actor(), later))
    except (FileRefused, Conflict) as cause:
        raise click.ClickException(f"{file}: {cause}") from None
    except OSError as cause:
        raise BadInput("FILE", f"{cause.filename or file}: {cause.strerror}") from None
    storestate.write(settings, done.seq)
    _answer(invocation, file, done, needs_signing_key=bool(settings.tokens.issuer))


def _answer(invocation: Invocation, file: str, done: Restored, *, needs_signing_key: bool) -> None:
    found = done.contents
    lost = max(0, done.highest - found.seq)
    document: dict[str, Any] = {"file": file, **asdict(found), "seq": done.seq}
    document |= {"backup_seq": found.seq, "highest_seen": done.highest, "lost_changes": lost}
    document["bad_seals"] = list(done.bad_seals)
    document["needs_signing_key"] = needs_signing_key
    text = f"{found.records} records and {found.audit} audit entries, up to change {found.seq}"
    if lost:
        text += (
            f"\n{lost} later changes are lost, up to change {done.highest}; "
            "revoke again the keys that were revoked since the backup"
        )
    if done.bad_seals:
        text += (
            f"\n{len(done.bad_seals)} records have a wrong seal or none, and stay refused, "
            f"the first is {escaped(done.bad_seals[0])}; `authz reseal` names all"
        )
    if needs_signing_key:
        text += (
            "\na backup has no keys that sign tokens: `authz tokens keys rotate` makes one; "
            "earlier tokens stay refused, and their callers exchange their keys again"
        )
    invocation.answer(document, text)
