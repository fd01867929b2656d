"""`authz keys`: issue, inspect, change and revoke keys."""

from typing import Any, Final

import click

from authz.cli import show
from authz.cli.actor import actor
from authz.cli.administration import load_settings, with_bulk, with_lifecycle
from authz.cli.delete import delete, purge
from authz.cli.export import export
from authz.cli.history import history
from authz.cli.importing import import_
from authz.cli.invocation import Invocation, common, write_stderr
from authz.cli.keyfile import key_file, out_option
from authz.cli.keyspec import key_spec
from authz.cli.limits import limits, reset_limits
from authz.cli.listing import list_
from authz.cli.options import (
    kid_argument,
    limit_option,
    new_credits_option,
    note_option,
    on_outage_option,
)
from authz.cli.outcome import show_new_key
from authz.cli.revoke import revoke
from authz.cli.rotate import retire, rotate
from authz.cli.turning import disable, enable
from authz.cli.update import update
from authz.cli.verify import verify
from authz.core.errors import NotFound, Unavailable
from authz.core.keys.text import ENVIRONMENTS
from authz.core.records import KeyRecord
from authz.core.usage.question import LatestUse
from authz.flows.lifecycle import Changed, Lifecycle
from authz.flows.limits.credit_report import Credits
from authz.process.clock import SystemClock
from authz.wiring.many_keys import BulkSession

ALIASES: Final = {"create": "issue"}
HINTS: Final = {
    **dict.fromkeys(
        ("remove", "rm"),
        "`authz keys revoke KID` ends a key, `authz keys delete KID` removes a dead one for ever",
    ),
    "get": "`authz keys show KID` prints a record",
    "ls": "`authz keys list` lists keys",
    "roll": "`authz keys rotate KID` gives a key a new secret",
}


class KeyCommands(click.Group):
    """The commands of `authz keys`, with an alias and hints for names of other tools."""

    aliases = ALIASES
    hints = HINTS

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of a name or an alias, or None if there is none.

        Raises UsageError with a hint for a name in HINTS, except during shell completion.
        """
        if cmd_name in HINTS and not ctx.resilient_parsing:
            raise click.UsageError(f"no such command '{cmd_name}': {HINTS[cmd_name]}", ctx)
        return super().get_command(ctx, ALIASES.get(cmd_name, cmd_name))


@click.group(cls=KeyCommands, no_args_is_help=False)
@common
def keys() -> None:
    """Issue, inspect, change and revoke keys.

    Commands name a key by its kid, the third part of its text. The audit trail records each change
    and its author: $AUTHZ_ACTOR, else user@host.

    \b
    Examples:
      authz keys issue --client acme-web
      authz keys revoke 7Hk2mQ9xT4bVzR1c --reason key_compromise
    """


for _command in (
    *(list_, history, update, rotate, retire, verify, disable, enable, revoke),
    *(delete, purge, export, import_, limits, reset_limits),
):
    keys.add_command(_command)


@keys.command()
@click.option("--client", metavar="ID", required=True, help="Owner of the key.")
@click.option("--project", metavar="ID", help="The client's project.")
@click.option("--tenant", metavar="ID", help="The client's tenant.")
@click.option("--name", metavar="TEXT", default="", help="A name for people.")
@click.option("--env", type=click.Choice(ENVIRONMENTS), default="live", show_default=True)
@click.option(
    "--scope",
    "scopes",
    metavar="SCOPE",
    multiple=True,
    help="A scope to grant: models:read, models:* or *. Repeatable.",
)
@click.option(
    "--host", "hosts", metavar="HOST", multiple=True, help="Allow only this host. Repeatable."
)
@click.option(
    "--origin",
    "origins",
    metavar="ORIGIN",
    multiple=True,
    help="Allow only this origin. Repeatable.",
)
@click.option(
    "--cidr", "cidrs", metavar="CIDR", multiple=True, help="Allow only these addresses. Repeatable."
)
@click.option(
    "--expires-in",
    metavar="DURATION",
    help="Lifetime, or `never`. Default: 90d.",
)
@click.option("--expires-at", metavar="TIME", help="RFC 3339, or `never`.")
@click.option("--not-before", metavar="TIME", help="RFC 3339, or a duration from now.")
@click.option(
    "--metadata", metavar="NAME=VALUE", multiple=True, help="A note of yours. Repeatable."
)
@click.option(
    "--outage-grace",
    metavar="DURATION",
    help="How long the key works during a store outage; 0: not at all.",
)
@click.option("--plan", metavar="NAME", help="Limits of this plan of the settings.")
@limit_option
@new_credits_option
@on_outage_option
@out_option
@note_option
@common
@click.pass_obj
def issue(invocation: Invocation, /, note: str, out: str | None, **asked: Any) -> None:
    """Issue a key and print it, once.

    The key goes to stdout, everything else to stderr. The store keeps only a digest.

    The scope models:* grants every scope below models, such as models:read. The scope * grants
    every scope.

    \b
    Examples:
      authz keys issue --client acme-web
      authz keys issue --client acme-web --scope models:generate --scope models:list
      authz keys issue --client acme-web --scope 'models:*'
      authz keys issue --client batch --env test --expires-in 7d --cidr 10.0.0.0/8
      authz keys issue --client payments --outage-grace 0
      authz keys issue --client acme-web --limit 10/s --limit 1000000/month@15
      authz keys issue --client trial --credits 10000 --expires-in never
      authz keys issue --client acme-web --out acme-web.key
      authz keys issue --client acme-web --json | jq -r .key
    """
    plans = load_settings(invocation).plans if asked["plan"] is not None else {}
    spec = key_spec(plans=plans, **asked)

    async def work(lifecycle: Lifecycle) -> Changed:
        return await lifecycle.issue(spec, lifecycle.author(actor(), note))

    with key_file(out) as file:
        result = with_lifecycle(invocation, work)
        show_new_key(invocation, result, f"issued {show.summary(result.record)}", file)


@keys.command("show")
@kid_argument
@common
@click.pass_obj
def show_(invocation: Invocation, kid: str) -> None:
    """Print the record of a key, without its secret.

    `version` is the number of the change in the store that wrote the record, over all keys.
    `revision` counts the changes of this key alone. `credits` says how many units are left, if the
    key or its plan has credits. If `authz meter` counts usage, the last lines say when and from
    where the key was used last, and during an overlap each of its secrets.

    \b
    Examples:
      authz keys show 7Hk2mQ9xT4bVzR1c
      authz keys show 7Hk2mQ9xT4bVzR1c --json | jq .expires_at
    """

    async def work(
        session: BulkSession,
    ) -> tuple[KeyRecord, int | None, LatestUse | str, Credits | str | None]:
        record = await session.keys.find(kid)
        if record is None:
            raise NotFound(f"no key has the kid {kid}")
        revision = await session.history.revision(record)
        credits_left: Credits | str | None
        try:
            [credits_left] = await session.credits.of([record])
        except Unavailable as cause:  # the record is known, and is the answer
            credits_left = str(cause)
        try:
            return record, revision, await session.usage.latest_use(kid), credits_left
        except Unavailable as cause:
            return record, revision, str(cause), credits_left

    record, revision, use, credits_left = with_bulk(invocation, work)
    now = SystemClock().wall_ms()
    document = show.document(record) | show.state(record, now) | {"revision": revision}
    text = show.table(record, now, revision)
    if isinstance(credits_left, str):
        write_stderr(f"credits cannot be read: {credits_left}")
        credits_left = None
    document["credits"] = show.credits_document(credits_left)
    if credits_left is not None:
        text = f"{text}\n{show.credits_line(credits_left)}"
    if isinstance(use, str):
        write_stderr(f"usage cannot be read: {use}")
        invocation.answer(document | {"usage": None}, text)
        return
    if use.latest:
        text = f"{text}\n{show.usage_lines(record, use, now)}"
    invocation.answer(document | {"usage": show.usage_document(use)}, text)
