"""A report of usage: whose, of which span, grouped by what, and how it is printed."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from authz.cli.administration import local_settings, with_usage
from authz.cli.invocation import Invocation, write_stdout, write_warning
from authz.cli.over_api import is_over_api
from authz.cli.times import ago_ms, duration
from authz.cli.usage_tables import document, rows_as_csv, text
from authz.core import fields
from authz.core.errors import BadInput
from authz.core.selector import Selector
from authz.core.times import rfc3339
from authz.core.usage.question import By, Report, Span, default_ms, span
from authz.process.clock import SystemClock
from authz.wiring.session import UsageSession

_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--key", "kid", metavar="KID", help="Usage of this key, also of a deleted one."),
    click.option("--client", metavar="ID", help="Usage of the keys of this client."),
    click.option("--project", metavar="ID", help="Usage of the keys of this project."),
    click.option("--tenant", metavar="ID", help="Usage of the keys of this tenant."),
    click.option(
        "--since", metavar="TIME", help="RFC 3339, or age such as 24h. Default: 30d; by minute 1h."
    ),
    click.option("--until", metavar="TIME", help="RFC 3339, or an age. Default: now."),
    click.option("--month", is_flag=True, help="This month, in UTC."),
    click.option("--csv", "as_csv", is_flag=True, help="Print CSV (RFC 4180)."),
)


def report_options(command: _Command) -> _Command:
    """Add the options of a report to a command: whose usage, of which span, and CSV."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def print_report(invocation: Invocation, asked: dict[str, Any], by: By, *, has_cost: bool) -> None:
    """Read the report of these options, and print it as a table, JSON or CSV.

    has_cost: the table has tokens and money. Raises UsageError if owner and key are given, BadInput
    for an invalid value.
    """
    as_csv = asked["as_csv"]
    if as_csv and invocation.as_json:
        raise BadInput("--csv", "is another form than --json; give one of them")
    kid, selector = _whose(asked)
    wanted = _span(asked, by, of_keys=kid is not None or not selector.is_empty)

    async def work(session: UsageSession) -> Report:
        if kid is not None:
            return await session.reports.of_key(kid, wanted, by)
        return await session.reports.of_selected(selector, wanted, by)

    report = with_usage(invocation, work)
    if as_csv:
        write_stdout(rows_as_csv(report))
    else:
        invocation.answer(document(report), text(report, has_cost=has_cost))
    _warn_of_retention(invocation, wanted)


def _warn_of_retention(invocation: Invocation, wanted: Span) -> None:
    """Warn if the first slot has ended before the counts that the settings keep.

    The admin API does not tell how long it keeps them.
    """
    if is_over_api(invocation):
        return
    name = f"{wanted.level.name.lower()}s"
    kept = int(getattr(local_settings(invocation).meter.retention, name) * 1000)
    oldest = SystemClock().wall_ms() - kept
    if wanted.level.starts_at(wanted.slots.start + 1) <= oldest:
        problem = f"counts before {rfc3339(oldest)} may be gone"
        write_warning(f"{problem}: {name} are kept for {duration(kept)} (meter.retention.{name})")


def _whose(asked: dict[str, Any]) -> tuple[str | None, Selector]:
    """Return the kid of --key, or None, and the conditions. At most one of both is given.

    Raises UsageError if both are, BadInput for an invalid value.
    """
    kid = asked["kid"]
    client, project, tenant = (
        None if asked[name] is None else fields.identifier(f"--{name}", asked[name])
        for name in ("client", "project", "tenant")
    )
    selector = Selector(client_id=client, project_id=project, tenant_id=tenant)
    if kid is not None and not selector.is_empty:
        raise click.UsageError("give either --key or --client, --project and --tenant")
    return None if kid is None else fields.kid("--key", kid), selector


def _span(asked: dict[str, Any], by: By, *, of_keys: bool) -> Span:
    now = SystemClock().wall_ms()
    since, until, month = asked["since"], asked["until"], asked["month"]
    if month and (since or until):
        raise BadInput("--month", "is a span; give it without --since and --until")
    ends = now if until is None else ago_ms("--until", until, now)
    begins = ends - default_ms(by) if since is None else ago_ms("--since", since, now)
    if month:
        begins = month_began(now)
    try:
        return span(begins, ends, by, of_keys=of_keys)
    except BadInput as cause:
        raise BadInput(f"--{cause.field}", cause.problem) from None


def month_began(now: int) -> int:
    """Return the start of the month of a time, in UTC. Both in ms since the epoch."""
    at = datetime.fromtimestamp(now / 1000, UTC)
    first = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return int(first.timestamp()) * 1000
