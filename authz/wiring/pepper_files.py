"""The pepper files of the settings."""

import stat

from authz.core.errors import BadInput
from authz.core.keys.pepper import Pepper
from authz.settings.model import Settings


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
