"""--out FILE: write a new key to a file instead of stdout.

The file is created and its space reserved before the key is made: if that fails, no key is made.
An existing file is never overwritten, and a link is never followed.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from authz.cli.options import path_such_as
from authz.core.errors import BadInput, Unavailable

FIELD: Final = "--out"
ROOM: Final = b" " * 512  # longer than any key with its newline


class KeyFile:
    """An open file for one key. is_written: whether `write` has succeeded."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self.is_written = False

    def write(self, kid: str, text: str) -> None:
        """Write the key and a newline, and sync the file.

        Raises Unavailable if that fails: the key `kid` exists, but its text is lost.
        """
        line = f"{text}\n".encode()
        try:
            os.pwrite(self._descriptor, line, 0)
            os.ftruncate(self._descriptor, len(line))
            os.fsync(self._descriptor)
        except OSError as cause:
            raise Unavailable(
                f"{FIELD}: {self.path}: {cause.strerror}; the key was made and its text is lost: "
                f"authz keys rotate {kid}"
            ) from None
        self.is_written = True


@contextmanager
def key_file(path: str | None) -> Iterator[KeyFile | None]:
    """Yield a new file of mode 0600, or None for `path` None.

    At the end the file is closed, and removed if no key was written. Raises BadInput if the file
    exists, cannot be created or has no space.
    """
    if path is None:
        yield None
        return
    file = _create(path)
    try:
        yield file
    finally:
        os.close(file._descriptor)  # noqa: SLF001  opened here
        if not file.is_written:
            file.path.unlink(missing_ok=True)


def _create(path: str) -> KeyFile:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise BadInput(FIELD, f"{path}: exists, and is never overwritten") from None
    except OSError as cause:
        raise BadInput(FIELD, f"{path[:100]}: {cause.strerror}; such as ./acme-web.key") from None
    try:
        os.write(descriptor, ROOM)
        os.fsync(descriptor)
    except OSError as cause:
        os.close(descriptor)
        Path(path).unlink()
        raise BadInput(FIELD, f"{path}: {cause.strerror}; no key was made") from None
    return KeyFile(Path(path), descriptor)


out_option = click.option(
    "--out",
    metavar="FILE",
    callback=path_such_as("acme-web.key"),
    help="Write the key to a new file of mode 0600, and do not print it.",
)
