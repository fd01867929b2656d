"""`authz keys limits` and `authz keys reset-limits`."""

from typing import Any, Final

import click

from authz.cli import show
from authz.cli.administration import with_bulk
from authz.cli.columns import columns
from authz.cli.invocation import Invocation, common
from authz.cli.options import kid_argument, note_option
from authz.cli.outcome import make_change, report_change
from authz.cli.times import optional, rfc3339
from authz.cli.waiting import wait_options
from authz.core.edits import ResetLimits
from authz.core.errors import NotFound
from authz.core.limits.limit import Limit
from authz.core.records import KeyRecord
from authz.flows.limits.limit_report import LimitReport
from authz.wiring.many_keys import BulkSession

HEADINGS: Final = ("NAME", "LIMIT", "USED", "REMAINING", "LEASED", "RESETS AT")
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
    RESETS AT  full window: there is room again; other window: all units are free
               again; calendar period: its end; credits: never, see
               `authz keys update --credits`

    \b
    Examples:
      authz keys limits 7Hk2mQ9xT4bVzR1c
      authz keys limits 7Hk2mQ9xT4bVzR1c --json | jq '.limits[] | {name, remaining}'
    """

    async def work(session: BulkSession) -> tuple[KeyRecord, LimitReport | None]:
        record = await session.keys.find(kid)
        if record is None:
            raise NotFound(f"no key has the kid {kid}")
        return record, await session.limits.of(record)

    record, report = with_bulk(invocation, work)
    rows = _rows(report) if report else []
    leases = _leases(report)
    document = {"kid": kid, "plan": record.plan, "limits": rows, "leases": leases}
    invocation.answer(document, _text(kid, report, rows, leases))


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


def _rows(report: LimitReport) -> list[dict[str, Any]]:
    """Return each limit as JSON members, with its owner, its use and the time of its reset."""
    result, key_limits = report.result(), report.charge.key_limits
    owners = [group for group in key_limits.groups for _ in group.limits]
    columns = zip(
        key_limits.names,
        owners,
        key_limits.limits,
        report.used(),
        result.remaining,
        result.resets_ms,
        report.leased(),
        strict=True,
    )
    return [
        show.limit_document(limit)
        | {
            "name": name,
            "owner": group.owner.value,
            "owner_id": group.id,
            "used": used,
            "remaining": remaining,
            "leased": leased,
            "resets_at": optional(_resets_at(report, limit, used, resets)),
        }
        for name, group, limit, used, remaining, resets, leased in columns
    ]


def _resets_at(report: LimitReport, limit: Limit, used: int, resets_ms: int) -> int | None:
    """Return milliseconds since the epoch; None for a window without use, and for credits."""
    if limit.never_resets:
        return None
    return report.now + resets_ms if used or limit.is_quota else None


def _leases(report: LimitReport | None) -> dict[str, Any]:
    """Return the size and lifetime (ms) of a lease, and the leases that sidecars hold.

    All are 0 and empty without a report. A size of 0 means no leases; then the lifetime is 0 too.
    """
    size = report.charge.max_lease if report else 0
    life = round(report.charge.lease_seconds * 1000) if report and size else 0
    return {"requests": size, "life_ms": life, "held": _held(report) if report else []}


def _held(report: LimitReport) -> list[dict[str, Any]]:
    """Return the leases of each limit group of the key as JSON members; may be empty."""
    groups = zip(report.charge.key_limits.groups, report.leases, strict=True)
    return [
        {
            "holder": lease.holder,
            "owner": group.owner.value,
            "owner_id": group.id,
            "requests": lease.requests,
            "cost": lease.cost,
            "until": rfc3339(lease.until),
        }
        for group, held in groups
        for lease in held
    ]


def _text(
    kid: str, report: LimitReport | None, rows: list[dict[str, Any]], leases: dict[str, Any]
) -> str:
    if report is None:
        return f"{kid} has no limits"
    cells = [
        (
            row["name"],
            str(limit),
            *(str(row[name]) for name in ("used", "remaining", "leased")),
            row["resets_at"] or ("never" if limit.never_resets else "-"),
        )
        for row, limit in zip(rows, report.charge.key_limits.limits, strict=True)
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
