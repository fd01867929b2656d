"""`authz keys due`."""

from typing import Any

import click

from authz.cli.administration import with_bulk
from authz.cli.columns import columns
from authz.cli.invocation import Invocation, common
from authz.cli.terminal import escaped
from authz.core import fields
from authz.core.times import rfc3339
from authz.flows.due_keys import DueKey


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
    found = with_bulk(invocation, lambda session: session.due.find(within))
    rows = [_row(one) for one in found]
    heading = ("DUE", "KID", "CLIENT", "PLAN", "SECRET", "STATE")
    lines = [
        (row["due_at"], row["kid"], escaped(row["client"]), row["plan"] or "-", row["secret"],
         "overdue" if row["is_overdue"] else "due")
        for row in rows
    ]  # fmt: skip
    text = columns([heading, *lines]) if lines else "no key is due"
    invocation.answer({"keys": rows}, text)


def _row(one: DueKey) -> dict[str, Any]:
    record = one.record
    return {
        "kid": record.kid,
        "client": record.client_id,
        "plan": record.plan or None,
        "secret": record.newest_secret.id,
        "due_at": rfc3339(one.at),
        "is_overdue": one.is_overdue,
    }
