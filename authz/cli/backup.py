"""`authz backup`."""

import asyncio
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import click

from authz.cli import storestate
from authz.cli.administration import load_settings
from authz.cli.invocation import Invocation, common
from authz.cli.options import path_such_as
from authz.core.errors import BadInput
from authz.settings.model import Settings
from authz.storage.backup import Contents
from authz.wiring import administration


@click.command()
@click.argument("file", metavar="FILE", callback=path_such_as("authz.backup"))
@common
@click.pass_obj
def backup(invocation: Invocation, file: str) -> None:
    """Write all keys of the store to a new file.

    The file holds the records, the aliases of imported keys and the audit trail, as they were at
    one change. Keys cannot be read from it, only their digests. It is sealed with the pepper, so a
    restore finds any alteration. Keep it apart from the pepper.

    \b
    Examples:
      authz backup /var/backups/authz-$(date +%F)
      authz backup authz.backup --json | jq .seq
    """
    settings = load_settings(invocation)
    path = Path(file)
    found, size = _write(settings, path)
    storestate.remember(settings, found.seq)
    document: dict[str, Any] = {"file": file, "bytes": size, **asdict(found)}
    text = f"{file}: {found.records} records, {found.audit} audit entries, up to change {found.seq}"
    invocation.answer(document, text)


def _write(settings: Settings, path: Path) -> tuple[Contents, int]:
    """Write the file under another name and rename it when it is complete."""
    if os.path.lexists(path):
        raise BadInput("FILE", f"{path} exists already; name a new file")
    draft = path.with_name(f"{path.name}.part")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            found = asyncio.run(administration.back_up(settings, out))
            size = _sync(out)
        draft.rename(path)
    except OSError as cause:
        raise BadInput("FILE", f"{draft}: {cause.strerror}") from None
    finally:
        with suppress(OSError):
            draft.unlink()
    return found, size


def _sync(out: BinaryIO) -> int:
    out.flush()
    os.fsync(out.fileno())
    return out.tell()
