"""The pepper files of the settings: made, read, and looked at for mistakes."""

import os
import secrets
import stat
import tempfile
from pathlib import Path
from typing import Final

from authz.core.errors import BadInput
from authz.core.keys.pepper import Pepper
from authz.settings.model import Settings

# Modes by which a pepper is exposed. Its group may read it: Kubernetes mounts secrets with 0440.
EXPOSED: Final = stat.S_IWGRP | stat.S_IRWXO


def read_pepper(settings: Settings, at: int) -> Pepper:
    """Read the pepper of an entry of `keys.peppers`.

    Raises BadInput for a file that is missing, unreadable, writable by every user or too short.
    """
    entry, is_newest = settings.keys.peppers[at], at == len(settings.keys.peppers) - 1
    try:
        if entry.file.stat().st_mode & stat.S_IWOTH:
            problem = f"{entry.file}: every user of this machine may replace it"
            raise BadInput("keys.peppers", f"{problem}; chmod 600 {entry.file}")
        secret = entry.file.read_bytes().strip()
    except OSError as cause:
        hint = ""
        if isinstance(cause, FileNotFoundError):
            hint = "; `authz init` makes it" if is_newest else "; copy it from where keys are made"
        raise BadInput("keys.peppers", f"{entry.file}: {cause.strerror}{hint}") from None
    return Pepper.expand(entry.version, secret)


def pepper_mistakes(settings: Settings, *, with_newest: bool = True) -> list[BadInput]:
    """Return the mistake of each pepper that cannot be used; empty if there is none."""
    found = []
    for at in range(len(settings.keys.peppers) - (not with_newest)):
        try:
            read_pepper(settings, at)
        except BadInput as cause:
            found.append(cause)
    return found


def exposed_peppers(settings: Settings) -> list[str]:
    """Return a line with the remedy for each pepper file that others may use; empty if none.

    Others: every user with any access, or its group with write access. A file that cannot be read
    is skipped.
    """
    found = []
    for entry in settings.keys.peppers:
        try:
            mode = stat.S_IMODE(entry.file.stat().st_mode)
        except OSError:  # `read_pepper` reports it
            continue
        if mode & EXPOSED:
            who = "every user" if mode & stat.S_IRWXO else "its group"
            verb = "write" if mode & stat.S_IWGRP else "read"
            problem = f"pepper file {entry.file}: {who} of this machine may {verb} it"
            found.append(f"{problem} (mode {mode:04o}); chmod 600 {entry.file}")
    return found


def make_pepper(file: Path) -> bool:
    """Create a pepper file of mode 0600 with 64 random hex digits, and sync it.

    Return True, or False if the file exists, as when another process was first. Raises BadInput if
    it cannot be created.
    """
    try:
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".authz-pepper-") as draft:  # 0600
            draft.write(secrets.token_hex(32).encode())
            draft.flush()
            os.fsync(draft.fileno())
            os.link(draft.name, file)  # like O_EXCL, but the file is complete from the start
    except FileExistsError:
        return False
    except OSError as cause:
        raise BadInput("keys.peppers", f"{file}: {cause.strerror}") from None
    return True
