"""--secrets-to DIR: a file for the secret of each key, written before the store has it."""

import os
from pathlib import Path
from typing import Any, Final

import click

from authz.cli.options import path_such_as
from authz.core.errors import BadInput, Unavailable

FIELD: Final = "--secrets-to"


class SecretDirectory:
    """A directory of mode 0700 with a file KID.key of mode 0600 for each key.

    A new secret is first in KID.key.new. It replaces KID.key when the store has confirmed it. If
    the command ends in between, it stays there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._is_ready = False

    def prepare(self, kid: str, text: str) -> None:
        """Write the secret to KID.key.new and sync it. Raises Unavailable if that fails.

        Raises BadInput if the directory cannot be made, or if others may write to it.
        """
        self._make()
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        try:
            descriptor = os.open(self._new(kid), flags, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(f"{text}\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as cause:
            raise Unavailable(f"{FIELD}: {self._new(kid)}: {cause.strerror}") from None

    def _make(self) -> None:
        if self._is_ready:
            return
        path = self.path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            mode = path.stat().st_mode
        except OSError as cause:
            raise BadInput(FIELD, f"{path}: {cause.strerror}; such as ./secrets") from None
        if mode & 0o022:
            raise BadInput(FIELD, f"{path}: other users may write there; chmod 700 {path}")
        self._is_ready = True

    def keep(self, kid: str) -> None:
        """Move the prepared secret to KID.key, over an older one; without one, do nothing.

        Raises Unavailable if that fails.
        """
        try:
            if self._new(kid).exists():
                self._new(kid).replace(self.path / f"{kid}.key")
        except OSError as cause:
            raise Unavailable(f"{FIELD}: {self._new(kid)}: {cause.strerror}") from None

    def discard(self, kid: str) -> None:
        """Remove the prepared secret, which the store does not have; without one, do nothing.

        Raises Unavailable if that fails.
        """
        try:
            self._new(kid).unlink(missing_ok=True)
        except OSError as cause:
            raise Unavailable(f"{FIELD}: {self._new(kid)}: {cause.strerror}") from None

    def _new(self, kid: str) -> Path:
        return self.path / f"{kid}.key.new"


def _path(context: click.Context, parameter: click.Parameter, value: str | None) -> Path | None:
    text: Any = path_such_as("./secrets")(context, parameter, value)
    return None if text is None else Path(text)


secrets_to_option = click.option(
    "--secrets-to",
    metavar="DIR",
    callback=_path,
    help="Many keys: write each secret to DIR/KID.key, of mode 0600.",
)
