"""Make a change to a key, and report its result."""

from collections.abc import Awaitable, Callable
from typing import Any, cast

import click

from authz.cli import show
from authz.cli.actor import actor
from authz.cli.invocation import Invocation, write_stderr
from authz.cli.keyfile import KeyFile
from authz.cli.terminal import escaped
from authz.cli.waiting import Waited, change_and_wait
from authz.core.changes import Author, Refused, Unchanged
from authz.core.records import Status
from authz.flows.lifecycle import Changed, Lifecycle, Result

Change = Callable[[Lifecycle, Author], Awaitable[Result]]


def make_change(
    invocation: Invocation, note: str, change: Change, wait_seconds: float | None
) -> Waited:
    """Make a change and, if `wait_seconds` is not None, wait for the sidecars for that long.

    An unchanged key is a result, too. Raises ClickException if the change is refused, and the
    errors of `change_and_wait`.
    """
    waited = change_and_wait(
        invocation,
        lambda lifecycle: change(lifecycle, lifecycle.author(actor(), note)),
        wait_seconds,
    )
    if isinstance(waited.result, Refused):
        raise click.ClickException(waited.result.why)
    return waited


def report_change(invocation: Invocation, waited: Waited, what: str = "") -> None:
    """Print the new state of a key, or the reason why nothing changed.

    what: replaces the default text of a change. Raises Exit(1) if the wait is incomplete.
    """
    result = cast("Changed | Unchanged", waited.result)
    record, why = result.record, result.why if isinstance(result, Unchanged) else None
    document = {
        "kid": record.kid,
        "status": record.status.value,
        "changed": why is None,
        "record": show.document(record),
    }
    text = escaped(why or what or f"{record.kid} is now {record.status.value}") + _spread(result)
    verb = "deny" if record.status is Status.ACTIVE else "allow"
    document |= _replicas(result) | waited.document()
    invocation.answer(document, f"{text}{waited.text(verb)}")
    waited.exit_if_incomplete()


def show_new_key(
    invocation: Invocation,
    result: Changed,
    what: str,
    file: KeyFile | None,
    waited: Waited | None = None,
) -> None:
    """Print a new key, the only time that it is shown; or write it to `file` and print the kid.

    what: the text for stderr, which is not written with --json. Raises Unavailable if `file` or
    stdout fails, Exit(1) if the wait is incomplete.
    """
    waited = waited or Waited(result, None)
    kid, text = result.record.kid, result.key_text or ""
    rest = {"record": show.document(result.record), **_replicas(result), **waited.document()}
    what += _spread(result) + waited.text()
    if file is not None:
        file.write(kid, text)
        if not invocation.as_json:
            write_stderr(f"{what}\nthe key is in {file.path} and nowhere else")
        invocation.answer({"kid": kid, "key": None, "file": str(file.path), **rest}, kid)
    else:
        if not invocation.as_json:  # first: the kid must be known even if stdout fails
            write_stderr(f"{what}\nthe key is shown once and kept nowhere: store it now")
        invocation.answer({"kid": kid, "key": text, **rest}, text)
    waited.exit_if_incomplete()


def _replicas(result: Changed | Unchanged) -> dict[str, Any]:
    """Return the number of replicas with the change for the JSON answer.

    Empty if nothing was changed or the store has no replicas.
    """
    if isinstance(result, Unchanged) or result.replicas is None:
        return {}
    return {"replicas": result.replicas}


def _spread(result: Changed | Unchanged) -> str:
    """Return the number of replicas with the change, in words.

    Empty if nothing was changed or the store has no replicas.
    """
    if isinstance(result, Unchanged) or result.replicas is None:
        return ""
    if not result.replicas:
        return "; no replica has that yet, so a failover could lose it"
    return f"; {result.replicas} replica{'s have' if result.replicas > 1 else ' has'} that"
