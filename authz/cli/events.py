"""`authz events`: list events, and find and repeat deliveries that failed."""

import json
import re
from collections.abc import Collection
from typing import Any, Final

import click

from authz.cli.actor import actor
from authz.cli.administration import load_settings, stored_settings, with_events
from authz.cli.columns import columns
from authz.cli.counted import counted
from authz.cli.invocation import Invocation, common, write_stdout
from authz.cli.over_api import is_over_api
from authz.cli.terminal import escaped
from authz.core import fields
from authz.core.errors import BadInput
from authz.core.notifications.catalogue import TYPES
from authz.core.notifications.catalogue import schema as event_schema
from authz.core.notifications.notification import partition_of
from authz.core.notifications.pattern import fits
from authz.core.notifications.ports import Progress
from authz.core.times import rfc3339
from authz.flows.by import By
from authz.flows.notifications.sinks import EventSinks, SinkState, chosen

MAX_LISTED: Final = 10_000

_KIND: Final = re.compile(r"[a-z0-9_.]{1,64}\*?|\*", re.ASCII)
_SINK: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}", re.ASCII)


def _kind(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not _KIND.fullmatch(value):
        raise BadInput("--type", f"{fields.shown(value)}: a type of events, such as authz.key.*")
    return value


def _kid(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    return None if value is None else fields.kid("--kid", value)


def _sink(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not _SINK.fullmatch(value):
        raise BadInput("--sink", f"{fields.shown(value)}: a name of events.sinks, such as siem")
    return value


_sink_option = click.option(
    "--sink", metavar="NAME", callback=_sink, help="Only this sink of events.sinks."
)


def _limit(_context: click.Context, _parameter: click.Parameter, value: str) -> int:
    if not (value.isascii() and value.isdecimal() and len(value) <= len(str(MAX_LISTED))):
        raise BadInput("--limit", f"{fields.shown(value)}: a number from 1 to {MAX_LISTED}")
    return min(max(int(value), 1), MAX_LISTED)


@click.group(no_args_is_help=False)
@common
def events() -> None:
    """List events about keys, and repeat deliveries that failed.

    `authz admin` delivers events to the sinks in events.sinks, at least once and in order.

    \b
    Examples:
      authz events list --type authz.key.revoked
      authz events dead
      authz events replay --sink siem --all
    """


@events.command("list")
@click.option(
    "--type",
    "kind",
    metavar="TYPE",
    default="*",
    callback=_kind,
    help="Such as `authz.key.*`.",
)
@click.option("--kid", metavar="KID", callback=_kid, help="Only events of this key.")
@click.option("--limit", metavar="N", default="50", callback=_limit, help="At most N events.")
@common
@click.pass_obj
def list_(invocation: Invocation, kind: str, kid: str | None, limit: int) -> None:
    """List events, the newest first, as sinks get them.

    \b
    Examples:
      authz events list
      authz events list --type authz.key.revoked --json | jq .events
    """
    found = with_events(invocation, lambda session: session.newest(kind, kid, limit))
    rows = [
        (one["time"], one["type"], one["data"]["kid"], one["id"], escaped(one["data"]["actor"]))
        for one in found
    ]
    text = columns([("TIME", "TYPE", "KID", "ID", "ACTOR"), *rows]) if rows else "no events"
    if not rows and not any(fits(kind, one.name) for one in TYPES.values()):
        text = f"no events: no type fits {fields.shown(kind)}; `authz events schema` has all types"
    invocation.answer({"events": found}, text)


@events.command()
@_sink_option
@common
@click.pass_obj
def dead(invocation: Invocation, sink: str | None) -> None:
    """Show how far each sink is, and the events that were given up.

    An event that cannot be delivered is tried again for 24 h. `authz events replay` delivers it
    again after that.

    \b
    Examples:
      authz events dead
      authz events dead --sink siem --json
    """
    _check_sink(invocation, sink)
    found = [_state(one) for one in with_events(invocation, lambda session: session.states(sink))]
    lines = []
    for one in found:
        lines.append(f"{one['sink']}: {_state_text(one)}")
        lines += [
            f"  {each['at']} {each['type']} {each['id']}: {escaped(each['problem'])}"
            for each in one["dead"]
        ]
    invocation.answer({"sinks": found}, "\n".join(lines) or "events.sinks has no sink")


@events.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@_sink_option
@click.option("--all", "every", is_flag=True, help="Deliver all events that were given up.")
@common
@click.pass_obj
def replay(invocation: Invocation, ids: tuple[str, ...], sink: str | None, *, every: bool) -> None:
    """Let `authz admin` deliver events again, with the same ids.

    IDs are of any events, not only of those that were given up.

    \b
    Examples:
      authz events replay --sink siem --all
      authz events replay --sink siem 4711-0-5f2c9a10b3de
    """
    if every == bool(ids):
        raise click.UsageError("give IDs of events, or --all")
    _check_ids(invocation, ids)
    _check_sink(invocation, sink, is_one=bool(ids))

    async def work(session: EventSinks) -> int:
        names = [one.name for one in await session.states(sink)]
        _check_number(names, is_one=bool(ids))
        return sum([await session.replay(name, ids, By(actor()).author()) for name in names])

    count = with_events(invocation, work)
    invocation.answer({"events": count}, f"{counted(count, 'event')} will be delivered again")


@events.command()
@common
@click.pass_obj
def schema(invocation: Invocation) -> None:
    """Print the JSON Schema of all events.

    \b
    Examples:
      authz events schema > events.schema.json
    """
    del invocation
    write_stdout(json.dumps(event_schema(), indent=1))


def _check_ids(invocation: Invocation, ids: Collection[str]) -> None:
    """Raise BadInput for a text that is no id of an event of this store."""
    count = 0 if is_over_api(invocation) or not ids else stored_settings(invocation).redis.count
    for one in ids:
        try:
            partition, _ = partition_of(one)
        except ValueError:
            raise _not_an_id(one) from None
        # Over the API the server knows whether there are partitions.
        if count and (partition is None) != (count == 1):
            raise _not_an_id(one)


def _not_an_id(text: str) -> BadInput:
    return BadInput("ID", f"{fields.shown(text)} is not the id of an event")


def _check_sink(invocation: Invocation, sink: str | None, *, is_one: bool = False) -> None:
    """Raise BadInput if the settings have no such sink. With --admin, the server knows them."""
    if not is_over_api(invocation):
        _check_number(chosen(load_settings(invocation).events.sinks, sink), is_one=is_one)


def _check_number(names: Collection[str], *, is_one: bool) -> None:
    if is_one and len(names) != 1:
        raise click.UsageError("name the sink with --sink")


def _state(state: SinkState) -> dict[str, Any]:
    return {
        "sink": state.name,
        **_progress(state.progress),
        "dead": [
            {
                "id": event_id,
                "type": one.type,
                "kid": one.kid,
                "at": rfc3339(one.at),
                "problem": one.problem,
            }
            for event_id, one in state.dead.items()
        ],
    }


def _progress(progress: Progress | None) -> dict[str, Any]:
    if progress is None:
        return {"started": False, "failing": None, "since": None, "tries": 0}
    failing = progress.failing or None
    since = rfc3339(progress.since) if failing else None
    return {"started": True, "failing": failing, "since": since, "tries": progress.tries}


def _state_text(state: dict[str, Any]) -> str:
    if not state["started"]:
        return "not started; `authz admin` with this sink starts it"
    dead = len(state["dead"])
    given_up = f"{counted(dead, 'event')} {'was' if dead == 1 else 'were'} given up"
    if not state["failing"]:
        return f"delivers, {given_up}"
    return f"tries {state['failing']} again since {state['since']}, {given_up}"
