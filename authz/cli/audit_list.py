"""`authz audit list`."""

import csv
import io
import json
import re
from typing import Any, Final

import click

from authz.cli.administration import with_trail
from authz.cli.columns import columns
from authz.cli.history import change_document
from authz.cli.invocation import Invocation, common, write_stderr, write_stdout
from authz.cli.times import ago_ms
from authz.core import fields
from authz.core.audit import Action
from authz.core.csv_cell import csv_cell
from authz.core.errors import BadInput
from authz.core.times import rfc3339
from authz.core.trail.rows import RESTORE
from authz.flows.trail.listing import EXPIRE, Events, TrailEvent, Wanted
from authz.process.clock import SystemClock

MAX_LIMIT: Final = 100_000
_LIMIT: Final = re.compile(r"[1-9]\d{0,5}", re.ASCII)
_COLUMNS: Final = ("TIME", "ACTION", "KID", "ACTOR", "NOTE")
_CSV: Final = (
    *("time", "action", "kid", "actor", "note", "source", "request_id", "version", "detail"),
)


def _limit(_context: click.Context, _parameter: click.Parameter, value: str) -> int:
    if not _LIMIT.fullmatch(value) or int(value) > MAX_LIMIT:
        raise BadInput("--limit", f"{fields.shown(value)}: a number from 1 to {MAX_LIMIT}")
    return int(value)


def _time(_context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    return ago_ms(parameter.opts[0], value, SystemClock().wall_ms())


@click.command("list")
@click.option("--since", metavar="TIME", callback=_time, help="A time, or a duration: 24h ago.")
@click.option("--until", metavar="TIME", callback=_time, help="Only what happened before this.")
@click.option("--actor", metavar="TEXT", default="", help="Only changes by this author.")
@click.option("--client", metavar="ID", default="", help="Only keys that this client has now.")
@click.option("--kid", metavar="KID", default="", help="Only this key.")
@click.option(
    "--action",
    type=click.Choice([*(action.value for action in Action), EXPIRE, RESTORE]),
    help="Only events of this kind.",
)
@click.option(
    "--limit",
    metavar="N",
    default="1000",
    callback=_limit,
    show_default=True,
    help=f"At most this many, up to {MAX_LIMIT}.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV with a header line.")
@common
@click.pass_obj
def list_(
    invocation: Invocation,
    *,
    since: int | None,
    until: int | None,
    actor: str,
    client: str,
    kid: str,
    action: str | None,
    limit: int,
    as_csv: bool,
) -> None:
    """List the changes of all keys, newest first.

    An expiry is nobody's change and has no entry. It is listed as `expire`, at its time. For that
    the whole trail is read; with another --action or with --actor only its newest part.

    \b
    Examples:
      authz audit list --since 24h
      authz audit list --actor alice@ops1 --action revoke
      authz audit list --kid 7Hk2mQ9xT4bVzR1c --csv > history.csv
    """
    if as_csv and invocation.as_json:
        raise BadInput("--csv", "prints CSV, --json prints JSON; give one of them")
    wanted = Wanted(
        kid=fields.kid("--kid", kid) if kid else "",
        actor=fields.line("--actor", actor),
        action=action or "",
        client_id=fields.identifier("--client", client) if client else "",
        since=since,
        until=until,
    )
    found: Events = with_trail(invocation, lambda trail: trail.find(wanted, limit))
    if as_csv:
        write_stdout(_csv(found.events).rstrip("\n"))
    else:
        document = {"events": [_document(one) for one in found.events], "more": found.has_more}
        invocation.answer(document, _table(found.events))
    if found.has_more and not invocation.as_json:
        write_stderr(f"there are older events: continue with --until {_oldest(found.events)}")


def _document(event: TrailEvent) -> dict[str, Any]:
    """Return an event as JSON members. Those of an entry are as in `authz keys history`.

    An unreadable row has the reason as `unreadable`; id and kid are None if there is none.
    """
    head = {"id": event.id or None, "kid": event.kid or None}
    if event.entry is not None:
        changed = change_document(event.entry)
        origin = {"source": event.entry.event.source, "request_id": event.entry.event.request_id}
        return head | changed | origin
    if event.why:
        return head | {"unreadable": event.why}
    return head | {"at": rfc3339(event.at), "action": event.action, "actor": event.actor}


def _table(events: tuple[TrailEvent, ...]) -> str:
    return columns([_COLUMNS, *map(_row, events)]) if events else "no events"


def _row(event: TrailEvent) -> tuple[str, ...]:
    if event.why:
        return (event.id, "unreadable", event.kid, "", event.why)
    note = event.entry.event.note if event.entry else ""
    return (rfc3339(event.at), event.action, event.kid, event.actor, note)


def _csv(events: tuple[TrailEvent, ...]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_CSV)
    for event in events:
        document = _document(event)
        detail = json.dumps(document.get("detail", {}))
        given = {**document, "time": document.get("at", ""), "detail": detail}
        if event.why:
            given |= {"action": "unreadable", "note": event.why}
        writer.writerow([csv_cell(given.get(name)) for name in _CSV])
    return text.getvalue()


def _oldest(events: tuple[TrailEvent, ...]) -> str:
    return rfc3339(min((one.at for one in events if one.at), default=0))
