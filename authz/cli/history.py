"""`authz keys history`."""

from typing import Any

import click

from authz.cli.administration import read_record, with_bulk
from authz.cli.change_text import readable, value_text
from authz.cli.invocation import Invocation, common, write_stderr
from authz.cli.options import kid_argument
from authz.cli.terminal import escaped
from authz.core.audit import AuditEntry
from authz.core.times import rfc3339
from authz.flows.key_history import History
from authz.wiring.session import BulkSession


@click.command()
@kid_argument
@common
@click.pass_obj
def history(invocation: Invocation, kid: str) -> None:
    """Show the changes of a key, newest first.

    Each entry has the time, the author, the changed fields and the reason. `authz audit list --kid`
    also has what was seen: leaks and uses of a canary key.

    \b
    Examples:
      authz keys history 7Hk2mQ9xT4bVzR1c
      authz keys history 7Hk2mQ9xT4bVzR1c --json | jq '.changes[] | select(.action=="update")'
    """

    async def work(session: BulkSession) -> History:
        return await session.history.of(await read_record(session, kid))

    found = with_bulk(invocation, work)
    document = {
        "kid": kid,
        "changes": [change_document(entry) for entry in found.entries],
        "lost": found.lost,
    }
    invocation.answer(document, "\n".join(map(_line, found.entries)))
    if found.lost is not None and not invocation.as_json:
        write_stderr(
            f"the audit trail holds no entry of version {found.lost}: older entries are not known"
        )


def change_document(entry: AuditEntry) -> dict[str, Any]:
    """Return an entry of the audit trail as JSON members: times in RFC 3339, durations as `30s`."""
    event = entry.event
    return {
        "version": entry.version,
        "base": entry.base_version,
        "at": rfc3339(event.at),
        "action": event.action.value,
        "actor": event.actor,
        "note": event.note,
        "detail": readable(event.detail),
    }


def _line(entry: AuditEntry) -> str:
    change = change_document(entry)
    parts = [f"{change['at']}  {change['action']:<7}  by {change['actor']}"]
    parts += [f"{name} {value_text(value)}" for name, value in change["detail"].items()]
    if change["note"]:
        parts.append(f"note {change['note']}")
    return "; ".join(map(escaped, parts))
