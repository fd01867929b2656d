"""`authz keys list` and `authz keys history`."""

import json
import re
from typing import Any, Final

import click

from authz.cli import show
from authz.cli.administration import with_bulk, with_session
from authz.cli.columns import columns
from authz.cli.invocation import Invocation, common, write_stderr
from authz.cli.options import kid_argument
from authz.cli.selecting import selector_options
from authz.cli.terminal import escaped
from authz.cli.times import NEVER, rfc3339
from authz.core import fields
from authz.core.audit import AuditEntry
from authz.core.errors import BadInput
from authz.core.selector import Selector
from authz.flows.key_history import History
from authz.flows.selection import Entry, Page
from authz.process.clock import SystemClock
from authz.wiring.administration import AdminSession
from authz.wiring.many_keys import BulkSession

_LIMIT: Final = re.compile(r"[1-9]\d{0,2}|1000", re.ASCII)
_TIMES: Final = ("expires_at", "not_before", "retires_at")
_COLUMNS: Final = ("KID", "STATUS", "ENV", "CLIENT", "EXPIRES", "NAME")


def _limit(_context: click.Context, _parameter: click.Parameter, value: str) -> int:
    if not _LIMIT.fullmatch(value):
        raise BadInput("--limit", f"{fields.shown(value)}: a number from 1 to 1000, such as 100")
    return int(value)


def _cursor(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str:
    return value or ""


@click.command("list")
@selector_options
@click.option(
    "--limit",
    metavar="N",
    default="100",
    callback=_limit,
    show_default=True,
    help="Keys on one page, at most 1000.",
)
@click.option("--cursor", metavar="CURSOR", callback=_cursor, help="Continue after this page.")
@common
@click.pass_obj
def list_(invocation: Invocation, selector: Selector, limit: int, cursor: str) -> None:
    """List keys, oldest first, one page at a time.

    A page ends with the cursor of the next one. The cursor stays good when keys are changed or
    deleted. With --status a page may have fewer keys than --limit although another page follows. An
    expired key is not active.

    \b
    Examples:
      authz keys list
      authz keys list --client acme-web --status active
      authz keys list --limit 1000 --cursor 7Hk2mQ9xT4bVzR1c-1764547200000
      authz keys list --json | jq -r '.keys[].kid, .next'
    """

    async def work(session: BulkSession) -> Page:
        return await session.selection.page(selector, limit, cursor)

    page = with_bulk(invocation, work)
    document = {"keys": [_document(entry) for entry in page.entries], "next": page.next}
    invocation.answer(document, _table(page.entries))
    if page.next and not invocation.as_json:
        write_stderr(f"there may be more: continue with --cursor {page.next}")


@click.command()
@kid_argument
@common
@click.pass_obj
def history(invocation: Invocation, kid: str) -> None:
    """Show the changes of a key, newest first.

    Each entry has the time, the author, the changed fields and the reason.

    \b
    Examples:
      authz keys history 7Hk2mQ9xT4bVzR1c
      authz keys history 7Hk2mQ9xT4bVzR1c --json | jq '.changes[] | select(.action=="update")'
    """

    async def work(session: AdminSession) -> History:
        return await session.history.of(await session.lifecycle.show(kid))

    found = with_session(invocation, work)
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


def _document(entry: Entry) -> dict[str, Any]:
    if entry.record is None:
        return {"kid": entry.kid, "unreadable": entry.why}
    return show.document(entry.record)


def _table(entries: tuple[Entry, ...]) -> str:
    if not entries:
        return "no keys"
    now = SystemClock().wall_ms()
    return columns([_COLUMNS, *(_row(entry, now) for entry in entries)])


def _row(entry: Entry, now: int) -> tuple[str, ...]:
    record = entry.record
    if record is None:
        return (entry.kid, "unreadable", "", "", "", entry.why)
    ends = rfc3339(record.expires_at) if record.expires_at else NEVER
    return (
        record.kid,
        show.status_text(record, now),
        record.env,
        record.client_id,
        ends,
        record.name,
    )


def change_document(entry: AuditEntry) -> dict[str, Any]:
    """Return an entry of the audit trail as JSON members, with times in RFC 3339."""
    event = entry.event
    return {
        "version": entry.version,
        "base": entry.base_version,
        "at": rfc3339(event.at),
        "action": event.action.value,
        "actor": event.actor,
        "note": event.note,
        "detail": {name: _readable(name, value) for name, value in event.detail.items()},
    }


def _line(entry: AuditEntry) -> str:
    change = change_document(entry)
    parts = [f"{change['at']}  {change['action']:<7}  by {change['actor']}"]
    parts += [f"{name} {_value_text(value)}" for name, value in change["detail"].items()]
    if change["note"]:
        parts.append(f"note {change['note']}")
    return "; ".join(map(escaped, parts))


def _readable(name: str, value: Any) -> Any:
    """Return an int in a time field as RFC 3339, also in old/new pairs; other values unchanged."""
    if isinstance(value, dict) and value.keys() == {"old", "new"}:
        return {which: _readable(name, part) for which, part in value.items()}
    return rfc3339(value) if name in _TIMES and isinstance(value, int) else value


def _value_text(value: Any) -> str:
    if isinstance(value, dict) and value.keys() == {"old", "new"}:
        return f"{_value_text(value['old'])} -> {_value_text(value['new'])}"
    if isinstance(value, str) and value:
        return value
    if not value and value != 0:
        return "(none)"
    return " ".join(map(str, value)) if isinstance(value, list) else json.dumps(value)
