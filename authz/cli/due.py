"""`authz keys due`."""

from typing import Any

import click

from authz.cli.administration import load_settings, with_bulk
from authz.cli.columns import columns
from authz.cli.invocation import Invocation, common
from authz.cli.terminal import escaped
from authz.core import fields
from authz.core.records import KeyRecord
from authz.core.rotation import RotationPolicies
from authz.core.selector import Selector
from authz.core.times import rfc3339
from authz.flows.selection import Cost
from authz.process.clock import SystemClock
from authz.wiring.session import BulkSession


def _within(_context: click.Context, parameter: click.Parameter, value: str) -> int:
    return fields.duration_ms(parameter.opts[0], value)


@click.command()
@click.option(
    "--within",
    metavar="DURATION",
    default="14d",
    show_default=True,
    callback=_within,
    help="Keys that are due by then; 0: those that are due now.",
)
@common
@click.pass_obj
def due(invocation: Invocation, within: int) -> None:
    """List the keys that need a new secret, the most urgent first.

    The policies are in `rotation` of the settings: by plan, and one for other keys. Keys that are
    disabled, revoked or expired are left out.

    \b
    Examples:
      authz keys due
      authz keys due --within 0 --json | jq -r '.keys[].kid'
    """
    policies = load_settings(invocation).rotation.policies()
    now = SystemClock().wall_ms()

    async def work(session: BulkSession) -> list[tuple[int, KeyRecord]]:
        found = []
        async for entry in session.finder.each(Selector(), Cost()):
            record = entry.record
            if isinstance(record, KeyRecord) and (at := _due_at(record, policies, now)) is not None:
                found.append((at, record))
        return sorted(
            (one for one in found if one[0] <= now + within), key=lambda one: (one[0], one[1].kid)
        )

    rows = [_row(at, record, now) for at, record in with_bulk(invocation, work)]
    heading = ("DUE", "KID", "CLIENT", "PLAN", "SECRET", "STATE")
    lines = [
        (row["due_at"], row["kid"], escaped(row["client"]), row["plan"] or "-", row["secret"],
         "overdue" if row["is_overdue"] else "due")
        for row in rows
    ]  # fmt: skip
    text = columns([heading, *lines]) if lines else "no key is due"
    invocation.answer({"keys": rows}, text)


def _due_at(record: KeyRecord, policies: RotationPolicies, now: int) -> int | None:
    policy = policies.of(record, now)
    return policy.due_at(record) if policy else None


def _row(at: int, record: KeyRecord, now: int) -> dict[str, Any]:
    return {
        "kid": record.kid,
        "client": record.client_id,
        "plan": record.plan or None,
        "secret": record.newest_secret.id,
        "due_at": rfc3339(at),
        "is_overdue": at <= now,
    }
