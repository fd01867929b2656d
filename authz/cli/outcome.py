"""How a change to a key is made by a command, and what of it is told."""

from collections.abc import Awaitable, Callable

import click

from authz.cli import show
from authz.cli.actor import actor
from authz.cli.administration import administer
from authz.cli.invocation import Invocation, remark
from authz.cli.keyfile import KeyFile
from authz.core.changes import Author, Refused, Unchanged
from authz.flows.lifecycle import Changed, Lifecycle, Result

Change = Callable[[Lifecycle, Author], Awaitable[Result]]


def changed(invocation: Invocation, note: str, change: Change) -> Changed | Unchanged:
    """Make a change. A refusal ends the command."""
    result = administer(
        invocation, lambda lifecycle: change(lifecycle, lifecycle.author(actor(), note))
    )
    if isinstance(result, Refused):
        raise click.ClickException(result.why)
    return result


def tell(invocation: Invocation, result: Changed | Unchanged, what: str = "") -> None:
    """Say what was done to a key, or what state it is in now."""
    record, why = result.record, result.why if isinstance(result, Unchanged) else None
    document = {
        "kid": record.kid,
        "status": record.status.value,
        "changed": why is None,
        "record": show.document(record),
    }
    invocation.answer(document, why or what or f"{record.kid} is now {record.status.value}")


def reveal(invocation: Invocation, result: Changed, what: str, file: KeyFile | None) -> None:
    """Show a new key, the only time that it is shown; or write it to the file, and show the kid."""
    kid, text, record = result.record.kid, result.key_text or "", show.document(result.record)
    if file is not None:
        file.write(kid, text)
        if not invocation.as_json:
            remark(f"{what}\nthe key is in {file.path} and nowhere else")
        document = {"kid": kid, "key": None, "file": str(file.path), "record": record}
        invocation.answer(document, kid)
        return
    if not invocation.as_json:  # first, so that the kid is known even if stdout fails
        remark(f"{what}\nthe key is shown once and kept nowhere: store it now")
    invocation.answer({"kid": kid, "key": text, "record": record}, text)
