"""`authz usage top`: the keys that are used most."""

import re
from collections.abc import Sequence
from typing import Final

import click

from authz.cli.administration import with_usage
from authz.cli.columns import columns
from authz.cli.invocation import Invocation, common
from authz.cli.times import ago_ms
from authz.cli.usage_tables import TOP_NUMBERS, top_cells
from authz.core import fields
from authz.core.errors import BadInput
from authz.core.times import rfc3339
from authz.core.usage.counts import MINUTE_MS, Level, month_of
from authz.core.usage.question import By, Span, TopBy, month_named, span
from authz.flows.usage.command_ports import TopKey
from authz.process.clock import SystemClock
from authz.wiring.session import UsageSession

_LIMIT: Final = re.compile(r"[1-9]\d{0,1}|[1-4]\d\d|500", re.ASCII)


def limited(_context: click.Context, _parameter: click.Parameter, value: str) -> int:
    """Return the number of `--limit`. Raises BadInput if it is not from 1 to 500."""
    if not _LIMIT.fullmatch(value):
        raise BadInput("--limit", f"{fields.shown(value)}: a number from 1 to 500, such as 20")
    return int(value)


def month_of_text(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> int | None:
    """Return the month of `--month`, counted since January 1970. Raises BadInput if it is none."""
    if value is None:
        return None
    if value == "this":
        return month_of(SystemClock().wall_ms() // MINUTE_MS)
    return month_named("--month", value)


@click.command()
@click.option(
    "--by",
    type=click.Choice([by.value for by in TopBy]),
    default=TopBy.REQUESTS.value,
    show_default=True,
    help="The number to compare.",
)
@click.option("--since", metavar="TIME", help="RFC 3339 or age. Default: 30d.")
@click.option(
    "--month",
    metavar="MONTH",
    callback=month_of_text,
    help="One month in UTC, such as 2026-11, or `this`. Fast with any number of keys.",
)
@click.option(
    "--limit",
    metavar="N",
    default="20",
    callback=limited,
    show_default=True,
    help="Keys, at most 500.",
)
@common
@click.pass_obj
def top(
    invocation: Invocation, *, by: str, since: str | None, month: int | None, limit: int
) -> None:
    """Show the keys that were used most since a day, or in a month.

    Since a day, it reads every key that was used in this time. A month is read from a ranking that
    the meter keeps, if meters of this version counted the whole month. ERRORS such as 4+1 are those
    of the client and of the server. --json has every number.

    \b
    Examples:
      authz usage top
      authz usage top --month this --limit 100
      authz usage top --by denied --since 24h
    """
    wanted = _span(since, month)

    async def work(session: UsageSession) -> tuple[Sequence[TopKey], int]:
        return await session.reports.top(wanted, TopBy(by), limit)

    rows, looked_at = with_usage(invocation, work)
    document = {
        "since": rfc3339(wanted.since),
        "until": rfc3339(wanted.until),
        "by": by,
        "keys": [
            {"kid": row.kid, "client_id": row.client_id} | row.counts.by_name() for row in rows
        ],
        "keys_looked_at": looked_at,
    }
    invocation.answer(document, _text(rows))


def _span(since: str | None, month: int | None) -> Span:
    if month is not None:
        if since is not None:
            raise BadInput("--month", "is a span; give it without --since")
        return Span(Level.MONTH, range(month, month + 1))
    now = SystemClock().wall_ms()
    try:
        return span(ago_ms("--since", since or "30d", now), now, By.DAY, of_keys=True)
    except BadInput as cause:
        raise BadInput("--since", cause.problem) from None


def _text(rows: Sequence[TopKey]) -> str:
    if not rows:
        return "no key was used in this time"
    lines = [(row.kid, row.client_id or "-", *top_cells(row.counts)) for row in rows]
    return columns([("KID", "CLIENT", *TOP_NUMBERS), *lines])
