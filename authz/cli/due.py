"""`authz keys due`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from authz.cli import show
from authz.cli.administration import with_bulk
from authz.cli.columns import columns
from authz.cli.invocation import Invocation, common
from authz.core import fields
from authz.core.errors import NoSuchMethod
from authz.core.times import rfc3339
from authz.flows.due_keys import DueKey
from authz.flows.waiting_deliveries import WaitingDelivery

if TYPE_CHECKING:
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
@click.option(
    "--deliveries",
    is_flag=True,
    help="List the new secrets that have not arrived at their targets, and no due keys.",
)
@common
@click.pass_obj
def due(invocation: Invocation, within: int, *, deliveries: bool) -> None:
    """List the keys that need a new secret, the most urgent first.

    The policies are in `rotation` of the settings: by plan, and one for other keys. Keys that are
    disabled, revoked or expired are left out.

    Below them are the new secrets of which it is unknown for 24 hours whether they have arrived at
    their target. Then a person decides which secret of the key ends.

    \b
    Examples:
      authz keys due
      authz keys due --within 0 --json | jq -r '.keys[].kid'
      authz keys due --deliveries
    """

    async def find(session: "BulkSession") -> tuple[Sequence[DueKey], Sequence[WaitingDelivery]]:
        if deliveries:
            return [], await session.deliveries.find()
        keys = await session.due.find(within)
        try:
            return keys, await session.deliveries.find()
        except NoSuchMethod:  # an older server has due keys alone
            return keys, []

    keys, waiting = with_bulk(invocation, find)
    waiting = [one for one in waiting if deliveries or one.is_undecided]
    document: dict[str, Any] = {} if deliveries else {"keys": [_row(one) for one in keys]}
    document["deliveries"] = [_delivery(one) for one in waiting]
    parts = [] if deliveries else [_keys_text(document["keys"])]
    if waiting or deliveries:
        parts.append(_deliveries_text(document["deliveries"]))
    invocation.answer(document, "\n\n".join(parts))


def _keys_text(rows: Sequence[dict[str, Any]]) -> str:
    heading = ("DUE", "KID", "CLIENT", "PLAN", "SECRET", "STATE")
    lines = [
        (row["due_at"], row["kid"], row["client"], row["plan"] or "-", row["secret"],
         "overdue" if row["is_overdue"] else "due")
        for row in rows
    ]  # fmt: skip
    return columns([heading, *lines]) if lines else "no key is due"


def _deliveries_text(rows: Sequence[dict[str, Any]]) -> str:
    heading = ("SINCE", "KID", "CLIENT", "TARGET", "SECRET", "DELIVERY")
    lines = [
        (row["since"], row["kid"], row["client"], row["target"], row["secret"],
         "undecided" if row["is_undecided"] else "pending")
        for row in rows
    ]  # fmt: skip
    text = columns([heading, *lines]) if lines else "no delivery is pending"
    return f"{text}\n\n{show.DECIDE}" if any(row["is_undecided"] for row in rows) else text


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


def _delivery(one: WaitingDelivery) -> dict[str, Any]:
    return {
        "kid": one.record.kid,
        "client": one.record.client_id,
        **show.delivery_document(one),
    }
