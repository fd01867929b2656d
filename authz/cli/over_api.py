"""--admin: whether a command works over the admin API, which one, and what it alone answers."""

import os
from typing import TYPE_CHECKING, Any, Final

import click

from authz.cli.invocation import Invocation
from authz.core.errors import BadInput

if TYPE_CHECKING:  # only a command over the admin API needs it
    from authz.core.trail.report import Report as TrailReport
    from authz.flows.verify import VerdictView
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


def verify_over_api(invocation: Invocation, key: str, **parts: Any) -> "VerdictView":
    """Return the decision of the admin API on a request with this key.

    parts: other fields of a Question. Raises BadInput, Unavailable.
    """
    from authz.cli.session_loop import within  # noqa: PLC0415
    from authz.flows.verify import Question  # noqa: PLC0415
    from authz.wiring import remote  # noqa: PLC0415

    question = Question(key=key, **parts)
    return within(
        remote.verifier(admin_target(invocation)), lambda verifier: verifier.verify(question)
    )


def verify_trail_over_api(
    invocation: Invocation, trimmed_before: int, unmarked_until: int, max_unsealed: int | None
) -> "TrailReport":
    """Return the admin API's verification of the audit trail, as RemoteAudit.verify does."""
    from authz.cli.session_loop import within  # noqa: PLC0415
    from authz.wiring import remote  # noqa: PLC0415

    return within(
        remote.audit(admin_target(invocation)),
        lambda audit: audit.verify(trimmed_before, unmarked_until, max_unsealed),
    )


def _given(invocation: Invocation) -> tuple[str, str]:
    """Return the name of the option or variable, and its value; empty without one."""
    if invocation.admin is not None:
        return "--admin", invocation.admin
    url = os.environ.get(VARIABLE, "")
    return f"${VARIABLE}", "" if url.startswith("{") else url  # a section of the settings
