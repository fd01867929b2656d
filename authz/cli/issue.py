"""`authz keys issue`."""

from typing import Any

import click

from authz.cli import show
from authz.cli.actor import actor
from authz.cli.administration import known_plans, with_editor
from authz.cli.invocation import Invocation, common
from authz.cli.keyfile import key_file, out_option
from authz.cli.keyspec import key_spec
from authz.cli.options import (
    budget_option,
    limit_option,
    new_credits_option,
    note_option,
    on_outage_option,
    outage_grace_option,
    plan_option,
)
from authz.cli.outcome import show_new_key
from authz.core.keys.text import ENVIRONMENTS
from authz.flows.by import By
from authz.flows.command_ports import KeyEditor
from authz.flows.lifecycle import Changed


@click.command()
@click.option("--client", metavar="ID", required=True, help="Owner of the key.")
@click.option("--project", metavar="ID", help="The client's project.")
@click.option("--tenant", metavar="ID", help="The client's tenant.")
@click.option("--name", metavar="TEXT", default="", help="A name for people.")
@click.option("--env", type=click.Choice(ENVIRONMENTS), default="live", show_default=True)
@click.option(
    "--public",
    is_flag=True,
    help="A publishable key, for a web page or an app: needs --origin, and routes marked for it.",
)
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
    "--canary", "is_canary", is_flag=True, help="A decoy that never works; each use is an event."
)
@outage_grace_option
@plan_option
@limit_option
@budget_option
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

    Anybody can read a publishable key and use it outside a browser. Routes accept it only if they
    are marked `public: true`. Without --limit and --plan it gets 10/s and 10000/d.

    A canary key lies where a thief would look, such as in an old file. It never works, callers read
    what they read for an unknown key, and each use is an event. `authz keys list --status canary`
    lists canary keys; other lists leave them out.

    \b
    Examples:
      authz keys issue --client acme-web
      authz keys issue --client acme-web --scope models:generate --scope models:list
      authz keys issue --client acme-web --scope 'models:*'
      authz keys issue --client batch --env test --expires-in 7d --cidr 10.0.0.0/8
      authz keys issue --client payments --outage-grace 0
      authz keys issue --client acme-web --limit 10/s --limit 1000000/month@15
      authz keys issue --client acme-web --limit 1000000/month,of=tokens --budget 12.50/month
      authz keys issue --client trial --credits 10000 --expires-in never
      authz keys issue --client acme-web --public --origin https://app.example.com
      authz keys issue --client decoy --canary --note "in the old deploy repository"
      authz keys issue --client acme-web --out acme-web.key
      authz keys issue --client acme-web --json | jq -r .key
    """
    spec = key_spec(plans=known_plans(invocation, asked["plan"]), **asked)

    async def work(editor: KeyEditor) -> Changed:
        return await editor.issue(spec, By(actor(), note))

    with key_file(out) as file:
        result = with_editor(invocation, work)
        show_new_key(invocation, result, f"issued {show.summary(result.record)}", file)
