"""--admin: whether a command works over the admin API, and which one."""

import os
from typing import TYPE_CHECKING, Final

import click

from authz.cli.invocation import Invocation
from authz.core.errors import BadInput

if TYPE_CHECKING:  # only a command over the admin API needs it
    from authz.remote.target import AdminTarget

LOCAL: Final = "works with the settings and the store of one machine: run it there without --admin"
VARIABLE: Final = "AUTHZ_ADMIN"
TOKEN_VARIABLE: Final = "AUTHZ_ADMIN_TOKEN_FILE"  # noqa: S105  a name


def is_over_api(invocation: Invocation) -> bool:
    """Return whether --admin or $AUTHZ_ADMIN names an admin API."""
    return bool(_given(invocation)[1])


def admin_target(invocation: Invocation) -> "AdminTarget":
    """Return the admin API of a command. Raises BadInput if an option or variable is wrong."""
    from authz.remote.target import read_target  # noqa: PLC0415

    name, url = _given(invocation)
    token = ("--admin-token-file", invocation.admin_token_file or "")
    if invocation.admin_token_file is None:
        token = (f"${TOKEN_VARIABLE}", os.environ.get(TOKEN_VARIABLE, ""))
    ca, cert, key = (os.environ.get(f"{VARIABLE}_{what}", "") for what in ("CA", "CERT", "KEY"))
    return read_target(name, url, token, (ca, cert, key))


def refuse_over_api(invocation: Invocation, why: str = LOCAL) -> None:
    """Raise BadInput with --admin. why: the problem, which follows the name of the command."""
    name, url = _given(invocation)
    if url:
        context = click.get_current_context(silent=True)
        command = context.command_path if context else "this command"
        raise BadInput(name, f"`{command}` {why}")


def _given(invocation: Invocation) -> tuple[str, str]:
    """Return the name of the option or variable, and its value; empty without one."""
    if invocation.admin is not None:
        return "--admin", invocation.admin
    url = os.environ.get(VARIABLE, "")
    return f"${VARIABLE}", "" if url.startswith("{") else url  # a section of the settings
