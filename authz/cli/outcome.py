"""Make a change to a key, and report its result."""

from typing import Any, cast

import click

from authz.cli import show
from authz.cli.actor import actor
from authz.cli.administration import with_editor
from authz.cli.invocation import Invocation, write_stderr
from authz.cli.keyfile import KeyFile
from authz.cli.terminal import escaped
from authz.cli.waiting import Waited
from authz.core.changes import Refused, Unchanged
from authz.core.edits import Edit
from authz.core.records import Status
from authz.flows.by import By
from authz.flows.command_ports import Effect, KeyEditor
from authz.flows.lifecycle import Changed


def make_change(
    invocation: Invocation, kid: str, edit: Edit, note: str, wait_seconds: float | None
) -> Waited:
    """Change a key and, if `wait_seconds` is not None, wait for the sidecars for that long.

    An unchanged key is a result, too. Raises ClickException if the change is refused, BadInput for
    invalid settings, and Unavailable if the store cannot be reached before the change. After it
    Unavailable is kept in `error`: it must not hide the change, as a new key is shown only once.
    """

    async def work(editor: KeyEditor) -> Effect:
        return await editor.change(kid, edit, By(actor(), note), wait_seconds)

    effect = with_editor(invocation, work)
    if isinstance(effect.result, Refused):
        raise click.ClickException(effect.result.why)
    return Waited.of(effect, wait_seconds)


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
