"""`authz keys update`."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, cast

import click

from authz.cli.administration import known_plans
from authz.cli.invocation import Invocation, common
from authz.cli.options import (
    budget_change_option,
    budget_text,
    credits_option,
    limit_option,
    metadata,
    note_option,
    on_outage_option,
    optional_kid_argument,
    outage_grace_option,
    plan,
    plan_option,
    scopes,
)
from authz.cli.outcome import make_change, report_change
from authz.cli.selecting import required, where_options
from authz.cli.task import DONE, Consent, Task, bulk_options
from authz.cli.times import NEVER, moment_ms
from authz.cli.waiting import wait_options
from authz.core import fields
from authz.core.edits import Update
from authz.core.errors import BadInput
from authz.core.limits.credits import (
    CREDITS,
    KEEP_CREDITS,
    CreditsChange,
    parse_budget_change,
    parse_credits_change,
)
from authz.core.limits.limit import parse_limits, parse_on_outage
from authz.core.limits.throttle import Throttle
from authz.core.limits.throttle import parse as parse_throttle
from authz.core.selector import Selector
from authz.core.updates import Updates
from authz.process.clock import SystemClock

_Reader = Callable[[str, Any], object]


def _moment(field: str, text: str) -> int:
    return moment_ms(field, text, SystemClock().wall_ms())


def _throttle(field: str, text: str) -> Throttle:
    return parse_throttle(field, text, SystemClock().wall_ms())


# The record field and the parser of each option.
READ: Final[dict[str, tuple[str, _Reader]]] = {
    "client": ("client_id", fields.identifier),
    "project": ("project_id", fields.identifier),
    "tenant": ("tenant_id", fields.identifier),
    "plan": ("plan", fields.identifier),
    "limit": ("limits", parse_limits),
    "on-outage": ("on_outage", parse_on_outage),
    "name": ("name", fields.line),
    "scope": ("scopes", scopes),
    "host": ("allowed_hosts", fields.hosts),
    "origin": ("allowed_origins", fields.origins),
    "cidr": ("allowed_cidrs", fields.networks),
    "metadata": ("metadata", metadata),
    "not-before": ("not_before", _moment),
    "outage-grace": ("outage_grace", fields.outage_grace_ms),
    "throttle": ("throttle", _throttle),
}
# The empty value of each field that --clear may name.
EMPTY: Final[dict[str, object]] = {
    "project": "",
    "tenant": "",
    "plan": "",
    "limit": (),
    "on-outage": None,
    "name": "",
    "scope": frozenset(),
    "host": (),
    "origin": (),
    "cidr": (),
    "metadata": {},
    "not-before": None,
    "outage-grace": None,
    "throttle": None,
}


@click.command()
@optional_kid_argument
@click.option(
    "--client",
    metavar="ID",
    help="Move the key to another client. Without KID and --where: change the keys of this client.",
)
@click.option("--project", metavar="ID", help="The client's project.")
@click.option("--tenant", metavar="ID", help="The client's tenant.")
@click.option("--name", metavar="TEXT", help="A name for people.")
@click.option(
    "--scope",
    metavar="SCOPE",
    multiple=True,
    help="Replace all scopes: models:read, models:* or *. Repeatable.",
)
@click.option(
    "--add-scope", metavar="SCOPE", multiple=True, help="Grant this scope too. Repeatable."
)
@click.option(
    "--remove-scope", metavar="SCOPE", multiple=True, help="Take this scope away. Repeatable."
)
@click.option("--host", metavar="HOST", multiple=True, help="Allow only this host. Repeatable.")
@click.option(
    "--origin", metavar="ORIGIN", multiple=True, help="Allow only this origin. Repeatable."
)
@click.option(
    "--cidr", metavar="CIDR", multiple=True, help="Allow only these addresses. Repeatable."
)
@click.option("--expires-in", metavar="DURATION", help="Lifetime from now, or `never`.")
@click.option("--expires-at", metavar="TIME", help="RFC 3339, or `never`.")
@click.option("--not-before", metavar="TIME", help="RFC 3339, or a duration from now.")
@click.option(
    "--metadata", metavar="NAME=VALUE", multiple=True, help="Replace all notes. Repeatable."
)
@click.option(
    "--clear",
    type=click.Choice(list(EMPTY)),
    multiple=True,
    help="Remove this restriction or value. Repeatable.",
)
@click.option(
    "--throttle",
    metavar="FACTOR:DURATION",
    help="Lower the rates of the key for a time, such as 25%:6h.",
)
@outage_grace_option
@plan_option
@limit_option
@credits_option
@budget_change_option
@on_outage_option
@where_options
@bulk_options
@note_option
@wait_options
@common
@click.pass_obj
def update(
    invocation: Invocation,
    /,
    *,
    kid: str | None,
    note: str,
    wait_seconds: float | None,
    selector: Selector,
    has_where: bool,
    consent: Consent,
    **asked: Any,
) -> int:
    """Change the owner, rights, limits or lifetime of a key.

    Fields without an option stay as they are. A repeatable option replaces all earlier values,
    except --add-scope and --remove-scope. A key without hosts, origins or address blocks works with
    any. The scope models:* grants every scope below models, * grants every scope.

    --credits +5000 refills a key: the used units stay counted, and the total grows. Two refills at
    once both count. --limit and --clear limit leave the credits as they are. --budget sets a budget
    of the key or tops it up; other limits stay. --throttle lowers the rates, such as 10/s, of the
    key and of its plan; quotas, budgets, credits and pools stay. It ends by itself.

    Without KID, all keys that fit the conditions are changed, after a confirmation. --where,
    --env, --status and the times are conditions. --client is one only if there is no --where.
    Beside --where client=OLD it is the new client.

    \b
    Examples:
      authz keys update 7Hk2mQ9xT4bVzR1c --name "the shop" --metadata team=web
      authz keys update 7Hk2mQ9xT4bVzR1c --add-scope models:list --remove-scope models:generate
      authz keys update 7Hk2mQ9xT4bVzR1c --cidr 10.0.0.0/8 --cidr 192.0.2.0/24
      authz keys update 7Hk2mQ9xT4bVzR1c --clear cidr --expires-in 30d
      authz keys update 7Hk2mQ9xT4bVzR1c --plan standard --limit 20/s
      authz keys update 7Hk2mQ9xT4bVzR1c --throttle 25%:6h --note "a loop at the client"
      authz keys update 7Hk2mQ9xT4bVzR1c --credits +5000 --note "invoice 4711"
      authz keys update 7Hk2mQ9xT4bVzR1c --budget +10.00/month --note "asked for more"
      authz keys update 7Hk2mQ9xT4bVzR1c --client acme-batch --note "the team moved"
      authz keys update --client acme-web --plan pro --dry-run
      authz keys update --where plan=free --where 'name=shop-*' --plan pro --yes
      authz keys update --where client=acme-web --client acme-batch --yes
    """
    if kid is None and selector.client_id is None and asked["client"] is not None:
        if has_where:  # who means a condition would give the keys of others to this client
            problem = "is the new client beside --where; as a condition it is --where client=ID"
            raise BadInput("--client", f"{problem}. To move keys, name the old client so, too")
        selector = replace(selector, client_id=fields.identifier("--client", asked["client"]))
        asked["client"] = None
    required(selector, kid)
    more_units = asked.pop("credits"), asked.pop("budget")
    updates = _updates(**asked)
    credits_change = _credits_change(*more_units, updates)
    if updates.get("plan"):
        plan("--plan", updates["plan"], known_plans(invocation, updates["plan"]))
    more, less = (scopes(f"--{name}-scope", asked[f"{name}_scope"]) for name in ("add", "remove"))
    if "scopes" in updates and (more or less):
        raise BadInput(
            "--scope", "replaces all scopes; give either it or --add-scope and --remove-scope"
        )
    if more & less:
        raise BadInput(
            "--add-scope", f"{fields.shown(min(more & less))} is in --remove-scope as well"
        )
    if not (updates or more or less or credits_change):
        raise click.UsageError("nothing to change; give an option, such as --name web")
    edit = Update(
        fields=updates, add_scopes=more, remove_scopes=less, credits_change=credits_change
    )
    if kid is None:
        from authz.cli.bulk import change_selected  # noqa: PLC0415  for many keys alone

        task = Task(edit, "update", "updating", "updated", "already so")
        return change_selected(
            invocation, selector, task, consent, note=note, wait_seconds=wait_seconds
        )
    result = make_change(invocation, kid, edit, note, wait_seconds)
    report_change(invocation, result, f"updated {kid}")
    return DONE


def _credits_change(text: str | None, budget: str | None, updates: Updates) -> CreditsChange | None:
    """Return the change of the credits or of a budget. KEEP_CREDITS for new limits without one.

    None without any of these. Raises BadInput for a text that is no change, for both, and if
    --limit gives a limit of the same name.
    """
    if budget is not None:
        if text is not None or "limits" in updates:
            raise BadInput("--budget", "goes neither with --credits nor with --limit")
        return parse_budget_change("--budget", budget_text(budget))
    if text is None:
        return KEEP_CREDITS if "limits" in updates else None
    if any(limit.name == CREDITS for limit in updates.get("limits", ())):
        raise BadInput("--credits", "--limit gives a limit of the name credits as well")
    return parse_credits_change("--credits", text)


def _updates(**asked: Any) -> Updates:
    """Return the new values by record field; fields without an option are absent.

    A field in --clear gets its value of EMPTY. Raises BadInput, which names the option, for a bad
    value, for an option that --clear names too, and for both --expires-in and --expires-at.
    """
    found: dict[str, Any] = {READ[name][0]: EMPTY[name] for name in asked["clear"]}
    for option, (name, read) in READ.items():
        value = asked[option.replace("-", "_")]
        if value is None or value == ():
            continue
        if name in found:
            raise BadInput("--clear", f"{option} has a value as well")
        found[name] = read(f"--{option}", value)
    return cast("Updates", found) | _end(asked["expires_in"], asked["expires_at"])


def _end(life: str | None, end: str | None) -> Updates:
    if life is not None and end is not None:
        raise BadInput("--expires-at", "give either it or --expires-in")
    if NEVER in {life, end}:
        return {"expires_at": None}
    if life is not None:
        ms = fields.duration_ms("--expires-in", life)
        return {"expires_at": SystemClock().wall_ms() + ms}
    return {} if end is None else {"expires_at": _moment("--expires-at", end)}
