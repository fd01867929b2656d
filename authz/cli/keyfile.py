"""--out FILE: a new key goes into a file of its owner's, rather than to stdout.

The file is made, and room in it, before the key is: when it cannot be made no key is. It is never
one that was there, nor what a link leads to.
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
ROOM: Final = b" " * 512  # more than any key and its end of line


class KeyFile:
    """A file that waits for one key."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self.is_written = False

    def write(self, kid: str, text: str) -> None:
        """Keep the key. Raises Unavailable, when the key is lost."""
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
    """The file at `path`, gone again unless a key is written. Raises BadInput."""
    if path is None:
        yield None
        return
    file = _made(path)
    try:
        yield file
    finally:
        os.close(file._descriptor)  # noqa: SLF001  opened here
        if not file.is_written:
            file.path.unlink(missing_ok=True)


def _made(path: str) -> KeyFile:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise BadInput(FIELD, f"{path}: is there already, and is never overwritten") from None
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
