"""`authz backup`."""

import os
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, Final

import click

from authz.cli import storestate
from authz.cli.administration import stored_settings
from authz.cli.ending_signals import as_interrupts
from authz.cli.invocation import Invocation, common
from authz.cli.options import path_such_as
from authz.cli.session_loop import run_interruptible
from authz.cli.terminal import escaped
from authz.core.errors import BadInput
from authz.settings.model import Settings
from authz.storage.backup import Contents
from authz.wiring import backups

WHOLE, DAMAGED = 0, 1
SHOWN: Final = 3  # names in the text


@click.command()
@click.argument("file", metavar="FILE", callback=path_such_as("authz.backup"))
@common
@click.pass_obj
def backup(invocation: Invocation, file: str) -> int:
    """Write all keys of the store to a new file.

    The file holds the records, the aliases of imported keys and the audit trail, as they were at
    one change. Keys cannot be read from it, only their digests. It is sealed with the pepper, so a
    restore finds any alteration. Keep it apart from the pepper.

    If something in the store has been overwritten by others, the file has everything else. The
    names are listed, and the exit code is 1.

    \b
    Examples:
      authz backup /var/backups/authz-$(date +%F)
      authz backup authz.backup --json | jq .seq
    """
    settings = stored_settings(invocation)
    path = Path(file)
    # A backup that a timer ends leaves no file behind.
    with as_interrupts(signal.SIGTERM, signal.SIGHUP):
        found, damaged, size = _write(settings, path)
    storestate.remember(settings, found.seq)
    document: dict[str, Any] = {"file": file, "bytes": size, **asdict(found)}
    document["damaged"] = list(damaged)
    text = f"{file}: {found.records} records, {found.audit} audit entries, up to change {found.seq}"
    if damaged:
        text += (
            f"\nthe store is damaged, and these could not be read: {_listed(damaged)}; keep the "
            "earlier backups, and see the run book: The store is damaged"
        )
    invocation.answer(document, text)
    return DAMAGED if damaged else WHOLE


def _listed(names: Sequence[str]) -> str:
    """Return the first names, escaped, and the number of the others."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(map(escaped, names[:SHOWN]))}{more}"


def _write(settings: Settings, path: Path) -> tuple[Contents, Sequence[str], int]:
    """Write the backup to `path`, which is complete or does not exist.

    Return its contents, the names that could not be read, and its size in bytes. Raises BadInput
    if `path` exists or cannot be written, and the errors of the store.
    """
    if os.path.lexists(path):
        raise _taken(path)
    try:
        return run_interruptible(_written(settings, path))
    except FileExistsError:
        raise _taken(path) from None
    except OSError as cause:
        raise BadInput("FILE", f"{path}: {cause.strerror}") from None


async def _written(settings: Settings, path: Path) -> tuple[Contents, Sequence[str], int]:
    """Do as `_write`. In an event loop Ctrl-C comes only while the task waits for the store."""
    with _draft(path) as out:
        found, damaged = await backups.back_up(settings, out)
        return found, damaged, out.tell()


@contextmanager
def _draft(path: Path) -> Iterator[BinaryIO]:
    """Yield a temporary file. At the end of the block sync it and rename it to `path`.

    It is always removed. Raises OSError.
    """
    # O_EXCL, a random name and mode 0600: no link of another user is followed.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        _name(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _taken(path: Path) -> BadInput:
    return BadInput("FILE", f"{path} exists already; name a new file")


def _name(draft: Path, path: Path) -> None:
    """Give the draft its name for good and sync the directory.

    Raises FileExistsError if the name was taken meanwhile. An empty file takes the name first,
    because a rename alone would replace any file. Links would do it in one step, but not every file
    system has them. If the rename fails, the empty file is removed and OSError raised.
    """
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        draft.replace(path)
    except OSError:
        path.unlink()
        raise
    handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
