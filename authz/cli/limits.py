"""`authz keys limits`, `authz keys reset-limits` and `authz keys refund`."""

from typing import Any, Final

import click

from authz.cli import show
from authz.cli.administration import read_record, with_bulk
from authz.cli.columns import columns
from authz.cli.counted import counted
from authz.cli.invocation import Invocation, common
from authz.cli.options import budget_text, kid_argument, note_option
from authz.cli.outcome import make_change, report_change
from authz.cli.times import optional
from authz.cli.waiting import wait_options
from authz.core.edits import Refund, ResetLimits
from authz.core.limits.amounts import Of, dollars, units_of
from authz.core.records import KeyRecord
from authz.core.times import rfc3339
from authz.flows.limits.limit_report import LimitUse, LimitView
from authz.flows.limits.refunds import parse_refund
from authz.wiring.session import BulkSession

HEADINGS: Final = ("NAME", "LIMIT", "USED", "REMAINING", "LEASED", "RESETS AT")
BUDGET_HEADINGS: Final = ("BUDGET", "OF", "TOTAL", "SPENT", "RESERVED", "REMAINING")
LEASE_HEADINGS: Final = ("LEASED BY", "FROM", "REQUESTS", "COST", "UNTIL")


@click.command()
@kid_argument
@common
@click.pass_obj
def limits(invocation: Invocation, kid: str) -> None:
    """Show the limits of a key, and their use.

    These are its own limits, those of its plan, and those that it shares with the keys of its
    project and its tenant.

    \b
    LEASED     taken in advance by sidecars; part of USED before the requests arrive
    SPENT      of a budget: the use of ended requests, or their estimate if the
               response did not say
    RESERVED   of a budget: taken for requests under way, in leases, and for
               requests whose usage never came
    RESETS AT  full window: there is room again; other window: all units are free
               again; calendar period: its end; credits: never, see
               `authz keys update --credits`

    \b
    Examples:
      authz keys limits 7Hk2mQ9xT4bVzR1c
      authz keys limits 7Hk2mQ9xT4bVzR1c --json | jq '.limits[] | {name, remaining}'
    """

    async def work(session: BulkSession) -> tuple[KeyRecord, LimitView | None]:
        record = await read_record(session, kid)
        return record, await session.limits.view(record)

    record, view = with_bulk(invocation, work)
    rows = list(map(_row, view.uses)) if view else []
    leases = _leases(view)
    document = {"kid": kid, "plan": record.plan, "limits": rows, "leases": leases}
    invocation.answer(document, _text(kid, view, rows, leases))


@click.command("reset-limits")
@kid_argument
@note_option
@wait_options
@common
@click.pass_obj
def reset_limits(invocation: Invocation, kid: str, note: str, wait_seconds: float | None) -> None:
    """Set the use of a key's limits to 0.

    This includes the limits of its plan, but not those of its project and its tenant. Credits stay
    used: `authz keys update KID --credits +5000` refills them.

    \b
    Examples:
      authz keys reset-limits 7Hk2mQ9xT4bVzR1c --note "their retry storm was our fault"
    """
    result = make_change(invocation, kid, ResetLimits(), note, wait_seconds)
    report_change(invocation, result, f"the counters of {kid} are 0, except those of credits")


@click.command()
@kid_argument
@click.option(
    "--budget",
    required=True,
    metavar="BUDGET",
    help="The units, and of which budget: 2.50/month of dollars, 5000/month,of=tokens.",
)
@note_option
@wait_options
@common
@click.pass_obj
def refund(
    invocation: Invocation, kid: str, budget: str, note: str, wait_seconds: float | None
) -> None:
    """Give units of a key's budget back.

    The key has so much more left in the current period. It must have used as much of the budget,
    which is its own or that of its plan. The audit trail has an entry. A refund that is made twice
    gives twice as much: if the outcome is not known, look at `authz keys limits` first.

    \b
    Examples:
      authz keys refund 7Hk2mQ9xT4bVzR1c --budget 2.50/month --note "bad answers on 3 May"
      authz keys refund 7Hk2mQ9xT4bVzR1c --budget 5000/month,of=tokens
    """
    wanted = parse_refund("--budget", budget_text(budget))
    result = make_change(invocation, kid, Refund(wanted), note, wait_seconds)
    write = dollars if wanted.of is Of.USD else str
    report_change(invocation, result, f"{write(wanted.limit)} of {wanted.name} of {kid} are back")


def _row(use: LimitUse) -> dict[str, Any]:
    """Return a limit as JSON members, with its owner, its use and the time of its reset."""
    return show.limit_document(use.limit) | {
        "name": use.name,
        "owner": use.owner.value,
        "owner_id": use.owner_id,
        "used": use.used,
        "remaining": use.remaining,
        "leased": use.leased,
        "spent": use.spent,
        "reserved": use.reserved,
        "resets_at": optional(use.resets_at),
    }


def _leases(view: LimitView | None) -> dict[str, Any]:
    """Return the size and lifetime (ms) of a lease, and the leases that sidecars hold.

    All are 0 and empty without limits. A size of 0 means no leases; then the lifetime is 0 too.
    """
    if view is None:
        return {"requests": 0, "life_ms": 0, "held": []}
    held = [
        {
            "holder": one.lease.holder,
            "owner": one.owner.value,
            "owner_id": one.owner_id,
            "requests": one.lease.requests,
            "cost": units_of(one.lease.cost),
            "until": rfc3339(one.lease.until),
        }
        for one in view.leases
    ]
    return {"requests": view.lease_requests, "life_ms": view.lease_ms, "held": held}


def _text(
    kid: str, view: LimitView | None, rows: list[dict[str, Any]], leases: dict[str, Any]
) -> str:
    if view is None:
        return f"{kid} has no limits"
    cells = [
        (
            row["name"],
            str(use.limit),
            *(str(row[name]) for name in ("used", "remaining", "leased")),
            row["resets_at"] or ("never" if use.limit.never_resets else "-"),
        )
        for row, use in zip(rows, view.uses, strict=True)
    ]
    parts = [columns([HEADINGS, *cells])]
    budgets = [use for use in view.uses if use.limit.is_budget]
    if budgets:
        parts.append(f"\n{columns([BUDGET_HEADINGS, *map(_budget_cells, budgets)])}\n")
    return "\n".join([*parts, _leases_text(leases)])


def _budget_cells(use: LimitUse) -> tuple[str, ...]:
    """Return the cells of a budget: of money in dollars."""
    write = dollars if use.limit.of is Of.USD else str
    numbers = (use.limit.limit, use.spent or 0, use.reserved or 0, use.remaining)
    return (use.name, use.limit.of.value, *map(write, numbers))


def _leases_text(leases: dict[str, Any]) -> str:
    rule = "every request is counted as it comes"
    if leases["requests"]:
        rule = (
            f"each sidecar may take up to {counted(leases['requests'], 'request')} in advance, "
            f"for {leases['life_ms']} ms"
        )
    if not leases["held"]:
        return rule
    cells = [
        (
            lease["holder"],
            lease["owner"],
            str(lease["requests"]),
            str(lease["cost"]),
            lease["until"],
        )
        for lease in leases["held"]
    ]
    return f"{rule}\n\n{columns([LEASE_HEADINGS, *cells])}"
