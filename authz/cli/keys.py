"""`authz keys`: issue, look at, rotate and end keys."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import click

from authz.cli import show
from authz.cli.actor import actor
from authz.cli.administration import administer
from authz.cli.importing import import_
from authz.cli.invocation import Invocation, common, remark
from authz.cli.keyspec import key_spec
from authz.cli.times import rfc3339
from authz.clock import SystemClock
from authz.core import fields
from authz.core.changes import Author, Refused, Unchanged
from authz.core.errors import BadInput
from authz.core.keys import ENVIRONMENTS
from authz.core.records import RevocationReason
from authz.flows.lifecycle import Changed, Lifecycle, Result

_Command = TypeVar("_Command", bound=Callable[..., Any])
_Change = Callable[[Lifecycle, Author], Awaitable[Result]]


@click.group(no_args_is_help=False)
@common
def keys() -> None:
    """Issue, look at, rotate and end keys.

    A key is named by its kid, the third part of its text. Each change is written to the audit
    trail with who made it: $AUTHZ_ACTOR, else user@host.

    \b
    Examples:
      authz keys issue --client acme-web
      authz keys revoke 7Hk2mQ9xT4bVzR1c --reason key_compromise
    """


keys.add_command(import_)


def _kid(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    return fields.kid("KID", value)


def _note(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    return fields.line("--note", value)


def _not_yet(_context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> None:
    if value:
        raise BadInput(parameter.opts[0], "not yet enforced by this version")


_kid_argument = click.argument("kid", callback=_kid)
_note_option = click.option(
    "--note", metavar="TEXT", default="", callback=_note, help="Why, for the audit trail."
)


def _not_yet_enforced(*names: str) -> Callable[[_Command], _Command]:
    """Options that would restrict a key if this version enforced them: refused, never ignored."""

    def decorate(command: _Command) -> _Command:
        for name in names:
            option = click.option(
                name, multiple=True, hidden=True, expose_value=False, callback=_not_yet
            )
            command = option(command)
        return command

    return decorate


@keys.command()
@click.option("--client", metavar="ID", required=True, help="Who the key is for.")
@click.option("--project", metavar="ID", help="The client's project.")
@click.option("--tenant", metavar="ID", help="The client's tenant.")
@click.option("--name", metavar="TEXT", default="", help="What you call the key.")
@click.option("--env", type=click.Choice(ENVIRONMENTS), default="live", show_default=True)
@click.option("--scope", "scopes", metavar="SCOPE", multiple=True, help="What it may do. Repeat.")
@click.option("--host", "hosts", metavar="HOST", multiple=True, help="Only to this host. Repeat.")
@click.option("--origin", "origins", metavar="ORIGIN", multiple=True, help="Only from this origin.")
@click.option("--cidr", "cidrs", metavar="CIDR", multiple=True, help="Only from these addresses.")
@click.option(
    "--expires-in", metavar="DURATION", default="90d", show_default=True, help="Or `never`."
)
@click.option("--not-before", metavar="TIME", help="RFC 3339, or a duration from now.")
@click.option("--metadata", metavar="NAME=VALUE", multiple=True, help="A remark of yours. Repeat.")
@_not_yet_enforced("--plan", "--limit", "--outage-grace")
@_note_option
@common
@click.pass_obj
def issue(invocation: Invocation, /, note: str, **asked: Any) -> None:
    """Make a key and show it, once.

    The key goes to stdout, what else there is to say to stderr. The store keeps a digest only.

    \b
    Examples:
      authz keys issue --client acme-web
      authz keys issue --client acme-web --scope models:generate --scope models:list
      authz keys issue --client batch --env test --expires-in 7d --cidr 10.0.0.0/8
      authz keys issue --client acme-web --json | jq -r .key
    """
    spec = key_spec(**asked)

    async def work(lifecycle: Lifecycle) -> Changed:
        return await lifecycle.issue(spec, lifecycle.author(actor(), note))

    result = administer(invocation, work)
    _reveal(invocation, result, f"issued {show.summary(result.record)}")


@keys.command("show")
@_kid_argument
@common
@click.pass_obj
def show_(invocation: Invocation, kid: str) -> None:
    """Show a key's record, without its secret.

    \b
    Examples:
      authz keys show 7Hk2mQ9xT4bVzR1c
      authz keys show 7Hk2mQ9xT4bVzR1c --json | jq .expires_at
    """
    record = administer(invocation, lambda lifecycle: lifecycle.show(kid))
    invocation.answer(show.document(record), show.table(record, SystemClock().wall_ms()))


@keys.command()
@_kid_argument
@click.option(
    "--grace", metavar="DURATION", default="7d", show_default=True, help="0: retire it at once."
)
@_note_option
@common
@click.pass_obj
def rotate(invocation: Invocation, kid: str, grace: str, note: str) -> None:
    """Give a key a new secret; the old one works for a while more.

    The kid stays, and the key's expiry moves on by its original life. At most two secrets work.

    \b
    Examples:
      authz keys rotate 7Hk2mQ9xT4bVzR1c
      authz keys rotate 7Hk2mQ9xT4bVzR1c --grace 24h
      authz keys rotate 7Hk2mQ9xT4bVzR1c --grace 0 --note "leaked in a log"
    """
    grace_ms = fields.duration_ms("--grace", grace)
    result = _changed(invocation, note, lambda flow, by: flow.rotate(kid, grace_ms, by))
    retires_at = result.record.secrets[-2].retires_at
    old = f"works until {rfc3339(retires_at)}" if grace_ms and retires_at else "works no more"
    what = f"rotated {show.summary(result.record)}; the old secret {old}"
    _reveal(invocation, cast("Changed", result), what)


@keys.command()
@_kid_argument
@click.option(
    "--reason",
    type=click.Choice([reason.value for reason in RevocationReason]),
    default=RevocationReason.UNSPECIFIED.value,
    show_default=True,
)
@_note_option
@common
@click.pass_obj
def revoke(invocation: Invocation, kid: str, reason: str, note: str) -> None:
    """End a key, for good. A revoked key cannot be enabled again.

    \b
    Examples:
      authz keys revoke 7Hk2mQ9xT4bVzR1c --reason key_compromise --note "found on a public page"
    """
    why = RevocationReason(reason)
    _tell(invocation, _changed(invocation, note, lambda flow, by: flow.revoke(kid, why, by)))


@keys.command()
@_kid_argument
@_note_option
@common
@click.pass_obj
def disable(invocation: Invocation, kid: str, note: str) -> None:
    """Stop a key for a while.

    \b
    Examples:
      authz keys disable 7Hk2mQ9xT4bVzR1c --note "unpaid"
    """
    _tell(invocation, _changed(invocation, note, lambda flow, by: flow.disable(kid, by)))


@keys.command()
@_kid_argument
@_note_option
@common
@click.pass_obj
def enable(invocation: Invocation, kid: str, note: str) -> None:
    """Let a disabled key work again.

    \b
    Examples:
      authz keys enable 7Hk2mQ9xT4bVzR1c
    """
    _tell(invocation, _changed(invocation, note, lambda flow, by: flow.enable(kid, by)))


def _changed(invocation: Invocation, note: str, change: _Change) -> Changed | Unchanged:
    """Make a change. A refusal ends the command."""
    result = administer(
        invocation, lambda lifecycle: change(lifecycle, lifecycle.author(actor(), note))
    )
    if isinstance(result, Refused):
        raise click.ClickException(result.why)
    return result


def _tell(invocation: Invocation, result: Changed | Unchanged) -> None:
    """Say what state a key is in now."""
    record, why = result.record, result.why if isinstance(result, Unchanged) else None
    document = {
        "kid": record.kid,
        "status": record.status.value,
        "changed": why is None,
        "record": show.document(record),
    }
    invocation.answer(document, why or f"{record.kid} is now {record.status.value}")


def _reveal(invocation: Invocation, result: Changed, what: str) -> None:
    """Show a new key, the only time that it is shown."""
    if not invocation.as_json:  # first, so that the kid is known even if stdout fails
        remark(f"{what}\nthe key is shown once and kept nowhere: store it now")
    document = {
        "kid": result.record.kid,
        "key": result.key_text,
        "record": show.document(result.record),
    }
    invocation.answer(document, result.key_text or "")
