"""The command that runs another module of authz, in the Python that runs this process."""

import sys
from contextlib import suppress
from pathlib import Path


def command_of(module: str) -> list[str]:
    """Return the command that runs a module of authz, for more arguments to be appended.

    `python -m` alone would import from the current directory first. This process does not, unless
    it was started in that way: a file there, such as `click.py`, must not run in its place.
    """
    here = {""}
    with suppress(OSError):  # the directory was removed
        here.add(str(Path.cwd()))
    safe = [] if here & set(sys.path) else ["-P"]
    return [sys.executable, *safe, "-m", module]
