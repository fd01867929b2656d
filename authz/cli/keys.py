"""`authz keys`: issue, look at, rotate and end keys."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, cast

import click

from authz.cli import show
from authz.cli.actor import actor
from authz.cli.administration import administer
from authz.cli.invocation import Invocation, common, remark
from authz.cli.times import moment_ms, rfc3339
from authz.cli.waiting import Waited, change_and_wait, waits
from authz.clock import SystemClock
from authz.core import fields
from authz.core.changes import Author, KeySpec, Refused, Unchanged
from authz.core.errors import BadInput
from authz.core.keys import ENVIRONMENTS
from authz.core.records import RevocationReason, Status
from authz.flows.lifecycle import Changed, Lifecycle, Result

_Command = TypeVar("_Command", bound=Callable[..., Any])
_Change = Callable[[Lifecycle, Author], Awaitable[Result]]

NEVER: Final = "never"


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
@click.option(
    "--outage-grace", metavar="DURATION", help="How long it works while the store is down; 0: not."
)
@_not_yet_enforced("--plan", "--limit")
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
      authz keys issue --client payments --outage-grace 0
      authz keys issue --client acme-web --json | jq -r .key
    """
    spec = _spec(**asked)

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
@waits
@common
@click.pass_obj
def rotate(invocation: Invocation, kid: str, grace: str, note: str, patience: float | None) -> None:
    """Give a key a new secret; the old one works for a while more.

    The kid stays, and the key's expiry moves on by its original life. At most two secrets work.

    \b
    Examples:
      authz keys rotate 7Hk2mQ9xT4bVzR1c
      authz keys rotate 7Hk2mQ9xT4bVzR1c --grace 24h
      authz keys rotate 7Hk2mQ9xT4bVzR1c --grace 0 --note "leaked in a log"
    """
    grace_ms = fields.duration_ms("--grace", grace)
    waited = _changed(invocation, note, lambda flow, by: flow.rotate(kid, grace_ms, by), patience)
    result = cast("Changed", waited.result)
    retires_at = result.record.secrets[-2].retires_at
    old = f"works until {rfc3339(retires_at)}" if grace_ms and retires_at else "works no more"
    what = f"rotated {show.summary(result.record)}; the old secret {old}"
    _reveal(invocation, result, what, waited)


@keys.command()
@_kid_argument
@click.option(
    "--reason",
    type=click.Choice([reason.value for reason in RevocationReason]),
    default=RevocationReason.UNSPECIFIED.value,
    show_default=True,
)
@_note_option
@waits
@common
@click.pass_obj
def revoke(
    invocation: Invocation, kid: str, reason: str, note: str, patience: float | None
) -> None:
    """End a key, for good. A revoked key cannot be enabled again.

    \b
    Examples:
      authz keys revoke 7Hk2mQ9xT4bVzR1c --reason key_compromise --note "found on a public page"
      authz keys revoke 7Hk2mQ9xT4bVzR1c --wait
    """
    why = RevocationReason(reason)
    _tell(
        invocation,
        _changed(invocation, note, lambda flow, by: flow.revoke(kid, why, by), patience),
    )


@keys.command()
@_kid_argument
@_note_option
@waits
@common
@click.pass_obj
def disable(invocation: Invocation, kid: str, note: str, patience: float | None) -> None:
    """Stop a key for a while.

    \b
    Examples:
      authz keys disable 7Hk2mQ9xT4bVzR1c --note "unpaid"
    """
    _tell(invocation, _changed(invocation, note, lambda flow, by: flow.disable(kid, by), patience))


@keys.command()
@_kid_argument
@_note_option
@waits
@common
@click.pass_obj
def enable(invocation: Invocation, kid: str, note: str, patience: float | None) -> None:
    """Let a disabled key work again.

    \b
    Examples:
      authz keys enable 7Hk2mQ9xT4bVzR1c
    """
    _tell(invocation, _changed(invocation, note, lambda flow, by: flow.enable(kid, by), patience))


def _changed(invocation: Invocation, note: str, change: _Change, patience: float | None) -> Waited:
    """Make a change. A refusal ends the command."""
    waited = change_and_wait(
        invocation, lambda lifecycle: change(lifecycle, lifecycle.author(actor(), note)), patience
    )
    if isinstance(waited.result, Refused):
        raise click.ClickException(waited.result.why)
    return waited


def _tell(invocation: Invocation, waited: Waited) -> None:
    """Say what state a key is in now."""
    result = cast("Changed | Unchanged", waited.result)
    record, why = result.record, result.why if isinstance(result, Unchanged) else None
    document = {
        "kid": record.kid,
        "status": record.status.value,
        "changed": why is None,
        "record": show.document(record),
    }
    document |= _replicas(result)
    what = (why or f"{record.kid} is now {record.status.value}") + _spread(result)
    verb = "deny" if record.status is Status.ACTIVE else "allow"
    invocation.answer(document | waited.document(), f"{what}{waited.text(verb)}")
    waited.conclude()


def _reveal(
    invocation: Invocation, result: Changed, what: str, waited: Waited | None = None
) -> None:
    """Show a new key, the only time that it is shown."""
    if not invocation.as_json:  # first, so that the kid is known even if stdout fails
        confirmed = _spread(result) + (waited.text() if waited else "")
        remark(f"{what}{confirmed}\nthe key is shown once and kept nowhere: store it now")
    document = {
        "kid": result.record.kid,
        "key": result.key_text,
        "record": show.document(result.record),
        **_replicas(result),
    }
    invocation.answer(document | (waited.document() if waited else {}), result.key_text or "")
    if waited:
        waited.conclude()


def _replicas(result: Changed | Unchanged) -> dict[str, Any]:
    """To be added to the JSON answer, where the store has replicas."""
    if isinstance(result, Unchanged) or result.replicas is None:
        return {}
    return {"replicas": result.replicas}


def _spread(result: Changed | Unchanged) -> str:
    """The same in words."""
    if isinstance(result, Unchanged) or result.replicas is None:
        return ""
    if not result.replicas:
        return "; no replica has that yet, so a failover could lose it"
    return f"; {result.replicas} replica{'s have' if result.replicas > 1 else ' has'} that"


def _spec(client: str, env: str, name: str, **asked: Any) -> KeySpec:
    """Read what was asked for. Raises BadInput, which names the option."""
    starts, life = asked["not_before"], asked["expires_in"]
    return KeySpec(
        client_id=fields.identifier("--client", client),
        env=env,
        name=fields.line("--name", name),
        project_id=_optional_id("--project", asked["project"]),
        tenant_id=_optional_id("--tenant", asked["tenant"]),
        scopes=_scopes(asked["scopes"]),
        not_before=starts and moment_ms("--not-before", starts, SystemClock().wall_ms()),
        life_ms=None if life == NEVER else fields.duration_ms("--expires-in", life),
        allowed_cidrs=fields.networks("--cidr", asked["cidrs"]),
        allowed_hosts=fields.hosts("--host", asked["hosts"]),
        allowed_origins=fields.origins("--origin", asked["origins"]),
        metadata=_metadata(asked["metadata"]),
        outage_grace=_outage_grace(asked["outage_grace"]),
    )


def _optional_id(field: str, text: str | None) -> str:
    return "" if text is None else fields.identifier(field, text)


def _outage_grace(text: str | None) -> int | None:
    return None if text is None else fields.outage_grace_ms("--outage-grace", text)


def _scopes(given: tuple[str, ...]) -> frozenset[str]:
    for text in given:
        if " " in text or "," in text:
            raise BadInput("--scope", f"{fields.shown(text)}: one scope each, --scope a --scope b")
    return fields.scopes("--scope", given)


def _metadata(given: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise BadInput("--metadata", f"{fields.shown(text)} is not name=value")
        if name in found:
            raise BadInput("--metadata", f"{fields.shown(name)} is given twice")
        found[name] = value
    return fields.metadata("--metadata", found)
