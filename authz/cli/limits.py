"""`authz keys limits` and `authz keys reset-limits`."""

from typing import Any, Final

import click

from authz.cli import show
from authz.cli.administration import with_session
from authz.cli.columns import columns
from authz.cli.invocation import Invocation, common
from authz.cli.options import kid_argument, note_option
from authz.cli.outcome import make_change, report_change
from authz.cli.times import optional, rfc3339
from authz.cli.waiting import wait_options
from authz.core.limits.limit import Limit
from authz.core.records import KeyRecord
from authz.flows.limits.limit_report import LimitReport
from authz.wiring.administration import AdminSession

HEADINGS: Final = ("NAME", "LIMIT", "USED", "REMAINING", "LEASED", "RESETS AT")
LEASE_HEADINGS: Final = ("LEASED BY", "FROM", "REQUESTS", "COST", "UNTIL")


@click.command()
@kid_argument
@common
@click.pass_obj
def limits(invocation: Invocation, kid: str) -> None:
    """Show what a key may use, and what it has used.

    Its own limits, those of its plan, and those that it shares with the keys of its project and of
    its tenant. LEASED: what sidecars have taken in advance; it is among what is used, though some
    of it may not have come yet. RESETS AT: when a window that is full has room again; when all that
    was used now is free again; when a period ends.

    \b
    Examples:
      authz keys limits 7Hk2mQ9xT4bVzR1c
      authz keys limits 7Hk2mQ9xT4bVzR1c --json | jq '.limits[] | {name, remaining}'
    """

    async def work(session: AdminSession) -> tuple[KeyRecord, LimitReport | None]:
        record = await session.lifecycle.show(kid)
        return record, await session.limit_reports.of(record)

    record, standing = with_session(invocation, work)
    rows = _rows(standing) if standing else []
    leases = _leases(standing)
    document = {"kid": kid, "plan": record.plan, "limits": rows, "leases": leases}
    invocation.answer(document, _text(kid, standing, rows, leases))


@click.command("reset-limits")
@kid_argument
@note_option
@wait_options
@common
@click.pass_obj
def reset_limits(invocation: Invocation, kid: str, note: str, wait_seconds: float | None) -> None:
    """Forget what a key has used of its limits.

    Those of its plan are among them. What it used of the limits of its project and its tenant
    stays.

    \b
    Examples:
      authz keys reset-limits 7Hk2mQ9xT4bVzR1c --note "their retry storm was our fault"
    """
    result = make_change(
        invocation, note, lambda flow, by: flow.reset_limits(kid, by), wait_seconds
    )
    report_change(invocation, result, f"{kid} has used nothing of its limits")


def _rows(standing: LimitReport) -> list[dict[str, Any]]:
    """Each limit, as JSON."""
    spent, terms = standing.result(), standing.charge.key_limits
    owners = [account for account in terms.groups for _ in account.limits]
    columns = zip(
        terms.names,
        owners,
        terms.limits,
        standing.used(),
        spent.remaining,
        spent.resets_ms,
        standing.leased(),
        strict=True,
    )
    return [
        show.limit_document(limit)
        | {
            "name": name,
            "owner": account.owner.value,
            "owner_id": account.id,
            "used": used,
            "remaining": remaining,
            "leased": leased,
            "resets_at": optional(_resets_at(standing, limit, used, resets)),
        }
        for name, account, limit, used, remaining, resets, leased in columns
    ]


def _resets_at(standing: LimitReport, limit: Limit, used: int, resets_ms: int) -> int | None:
    """Milliseconds since the epoch; None of a window in which there is nothing."""
    return standing.now + resets_ms if used or limit.is_quota else None


def _leases(standing: LimitReport | None) -> dict[str, Any]:
    """How much each sidecar may take in advance, for how long; who has taken how much."""
    size = standing.charge.max_lease if standing else 0
    life = round(standing.charge.lease_seconds * 1000) if standing and size else 0
    return {"requests": size, "life_ms": life, "held": _held(standing) if standing else []}


def _held(standing: LimitReport) -> list[dict[str, Any]]:
    """One lease is of each account that its key is held to."""
    accounts = zip(standing.charge.key_limits.groups, standing.leases, strict=True)
    return [
        {
            "holder": lease.holder,
            "owner": account.owner.value,
            "owner_id": account.id,
            "requests": lease.requests,
            "cost": lease.cost,
            "until": rfc3339(lease.until),
        }
        for account, held in accounts
        for lease in held
    ]


def _text(
    kid: str, standing: LimitReport | None, rows: list[dict[str, Any]], leases: dict[str, Any]
) -> str:
    if standing is None:
        return f"{kid} has no limits"
    texts = map(str, standing.charge.key_limits.limits)
    cells = [
        (
            row["name"],
            text,
            *(str(row[name]) for name in ("used", "remaining", "leased")),
            row["resets_at"] or "-",
        )
        for row, text in zip(rows, texts, strict=True)
    ]
    return f"{columns([HEADINGS, *cells])}\n{_leases_text(leases)}"


def _leases_text(leases: dict[str, Any]) -> str:
    rule = "every request is counted as it comes"
    if leases["requests"]:
        rule = (
            f"each sidecar may take up to {leases['requests']} requests in advance, "
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
