"""`authz usage export`: records for billing."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import click

from authz.cli.administration import stored_settings, with_billing
from authz.cli.billing_receiver import Format, ReceiverOptions, receiver
from authz.cli.counted import counted
from authz.cli.invocation import Invocation, common, write_stderr, write_warning
from authz.cli.options import path_such_as
from authz.cli.times import ago_ms
from authz.core import fields
from authz.core.errors import BadInput, Unavailable
from authz.core.usage.billing.differences import closed_before
from authz.core.usage.billing.period import Asked, Period, period
from authz.core.usage.billing.record import DEFAULT_UNITS, Unit, hour_text
from authz.core.usage.question import HOUR_MS
from authz.core.web_address import check_url
from authz.flows.usage.billing import BillingExport, Exported, Receiver
from authz.process import stripe
from authz.process.billing_cursor import BillingCursor, billing_cursor
from authz.process.billing_sinks import DiscardingSink
from authz.process.clock import SystemClock
from authz.settings.model import Settings
from authz.wiring.usage import BillingSession, cursor_owner

PAUSE: Final = 5.0  # seconds between two lines about the progress
NOT_CLOSED: Final = "; later hours are not closed yet: an hour closes 2 hours after its end"


@click.command()
@click.option(
    "--to",
    metavar="WHERE",
    callback=path_such_as("usage.csv"),
    help="A file, `https://...` for CloudEvents, or `stripe:EVENT_NAME`. Default: stdout.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice([form.value for form in Format]),
    help="Default: jsonl; over HTTP: cloudevents.",
)
@click.option(
    "--unit",
    "units",
    metavar="UNIT",
    multiple=True,
    type=click.Choice([unit.value for unit in Unit]),
    help="A number to export, named as in `authz usage --json`. Repeatable. Default: ok and units.",
)
@click.option(
    "--cursor",
    metavar="FILE",
    callback=path_such_as("billing.cursor"),
    help="Remembers what was delivered. Without it, all hours that are kept are exported.",
)
@click.option("--since", metavar="TIME", help="RFC 3339 or age. Default: by the cursor.")
@click.option("--until", metavar="TIME", help="RFC 3339 or age. Default: the last closed hour.")
@click.option(
    "--corrections",
    metavar="DURATION",
    default="24h",
    show_default=True,
    help="How far back delivered hours are compared again.",
)
@click.option(
    "--token-file",
    metavar="FILE",
    callback=path_such_as("token.txt"),
    help="The bearer token of the receiver, or a key of Stripe's API.",
)
@click.option("--ca", metavar="FILE", callback=path_such_as("ca.pem"), help="CA of the receiver.")
@click.option(
    "--customer",
    metavar="NAME",
    help="Stripe: the name in the metadata of keys that holds the customer.",
)
@click.option(
    "--customers",
    metavar="FILE",
    callback=path_such_as("customers.txt"),
    help="Stripe: lines such as `client acme-web cus_123`.",
)
@click.option(
    "--stripe-url",
    metavar="URL",
    default=stripe.API,
    show_default=True,
    callback=lambda _, option, url: check_url(option.opts[0], url),
    help="Stripe's API.",
)
@click.option(
    "--in-doubt",
    type=click.Choice(["send", "skip"]),
    help="Send or skip records that Stripe may have and cannot recognise any more.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be delivered.")
@common
@click.pass_obj
def export(invocation: Invocation, /, **given: Any) -> None:
    """Export the usage of closed hours, for invoices.

    A record is the quantity of one key, hour, route and unit. An hour is closed two hours after its
    end: the store counts none of its requests any more. If a count differs later all the same, as
    after a loss of writes, the difference is a record with the next revision. It can be negative.
    The id of a record never changes.

    With --cursor each run exports what the runs before did not. The cursor moves after the receiver
    has confirmed: by a status from 200 to 299, or when the file is on the disk. If a run ends
    before that, the next one sends the same records again, with the same ids.

    Exit code 1 if records were not delivered because they have no customer, or because the receiver
    refuses them. The next run tries again.

    \b
    Examples:
      authz usage export --since 24h --format csv --to usage.csv
      authz usage export --cursor kept --to https://meter.example.com/api/v1/events
      authz usage export --cursor kept --to stripe:calls --unit ok --customers ids
    """
    settings = stored_settings(invocation)
    options = ReceiverOptions.of(given, settings.redis.namespace)
    asked = _export_options(given, is_stripe=options.is_stripe)
    where, path = receiver(options), Path(given["cursor"]) if given["cursor"] else None
    progress = _Progress()

    async def work(session: BillingSession) -> tuple[Exported, Period]:
        owner = cursor_owner(settings, session.peppers, where.target, asked.units)
        hours = await _asked_hours(session, settings, asked, where.max_age_hours)
        with billing_cursor(path, owner, is_rehearsal=asked.is_rehearsal) as cursor:
            return await _export(
                session, cursor, where, asked=asked, hours=hours, progress=progress
            )

    try:
        done, hours = with_billing(settings, work)
    except Unavailable:
        if progress.last.records:
            write_stderr(f"delivered: {counted(progress.last.records, 'record')}; run it again")
        raise
    _answer(invocation, done, hours, asked, is_stdout=not options.to)
    if options.is_file and not asked.is_rehearsal and not Path(options.to).exists():
        write_stderr(f"there was nothing to write, so {options.to} was not made")
    for warning in hours.warnings:
        write_warning(warning)
    if done.unassigned or done.refused:
        write_warning(f"some records were not delivered; {done.problem}")
        raise click.exceptions.Exit(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ExportOptions:
    """The options that say which records to export. Hours are since the epoch; None: not given."""

    units: Sequence[Unit]
    since: int | None
    until: int | None
    corrections: int
    in_doubt: str
    is_rehearsal: bool


class _Progress:
    """Tells on a terminal how far an export is. last: the counts after the latest delivery."""

    def __init__(self) -> None:
        self.last = Exported()
        self._told = time.monotonic()
        self._is_shown = sys.stderr is not None and sys.stderr.isatty()

    def show(self, done: Exported) -> None:
        """Remember the counts, and print them every 5 s."""
        self.last = done
        if self._is_shown and time.monotonic() - self._told >= PAUSE:
            self._told = time.monotonic()
            write_stderr(f"{counted(done.records, 'record')} of {counted(done.keys, 'key')}")


async def _export(
    session: BillingSession,
    cursor: BillingCursor,
    where: Receiver,
    *,
    asked: _ExportOptions,
    hours: tuple[Asked, int],
    progress: _Progress,
) -> tuple[Exported, Period]:
    found = period(*hours, cursor.bounds())
    exports = BillingExport(
        session.store,
        session.index,
        cursor,
        replace(where, sink=DiscardingSink()) if asked.is_rehearsal else where,
        units=asked.units,
        key_records=session.key_records,
        on_progress=progress.show,
    )
    await exports.repeat(asked.in_doubt)
    await exports.run(found)
    return exports.exported, found


async def _asked_hours(
    session: BillingSession, settings: Settings, asked: _ExportOptions, max_age_hours: int | None
) -> tuple[Asked, int]:
    """Return the hours that were asked for, and the first hour that is not closed.

    max_age_hours: of the receiver.
    """
    now = await session.store.now_ms()
    kept = int(settings.meter.retention.hours) // 3600
    oldest = -(-now // HOUR_MS) - (kept if max_age_hours is None else min(kept, max_age_hours))
    hours = Asked(
        since=asked.since, until=asked.until, corrections=asked.corrections, oldest=oldest
    )
    return hours, closed_before(now)


def _export_options(given: dict[str, Any], *, is_stripe: bool) -> _ExportOptions:
    """Return the options. Raises BadInput about one of them."""
    now = SystemClock().wall_ms()
    since, until = (
        None if given[name] is None else ago_ms(f"--{name}", given[name], now) // HOUR_MS
        for name in ("since", "until")
    )
    if since is not None and until is not None and until <= since:
        raise BadInput("--since", "is not a whole hour before the end of the span (--until)")
    units = tuple(Unit(unit) for unit in dict.fromkeys(given["units"])) or DEFAULT_UNITS
    if is_stripe and len(units) > 1:
        raise BadInput("--unit", "a meter of Stripe adds up one number; give one, such as units")
    corrections = fields.duration_ms("--corrections", given["corrections"])
    return _ExportOptions(
        units=units,
        since=since,
        until=until,
        corrections=-(-corrections // HOUR_MS),
        in_doubt=given["in_doubt"] or "",
        is_rehearsal=given["dry_run"],
    )


def _answer(
    invocation: Invocation, done: Exported, found: Period, asked: _ExportOptions, *, is_stdout: bool
) -> None:
    """Print the summary: on stderr if the records are on stdout."""
    document = {
        "since": hour_text(found.hours.start),
        "until": hour_text(found.hours.stop),
        "dry_run": asked.is_rehearsal,
        "keys": done.keys,
        "records": done.records,
        "corrections": done.corrections,
        "repeated": done.repeated,
        "quantities": done.quantities,
        "without_customer": done.unassigned,
        "refused": done.refused,
    }
    text = _text(document)
    if asked.until is None and not done.records:
        text += NOT_CLOSED
    if is_stdout and not asked.is_rehearsal:
        write_stderr(json.dumps(document) if invocation.as_json else text)
    else:
        invocation.answer(document, text)


def _text(document: dict[str, Any]) -> str:
    verb = "would be delivered" if document["dry_run"] else "delivered"
    counts = counted(document["records"], "record"), counted(document["keys"], "key")
    about = f"{counts[0]} of {counts[1]} {verb}"
    parts = [
        f"{document['since']} to {document['until']}: {about}",
        *(f"{name} {number}" for name, number in sorted(document["quantities"].items())),
        *(
            f"{name.replace('_', ' ')} {document[name]}"
            for name in ("corrections", "repeated", "without_customer", "refused")
            if document[name]
        ),
    ]
    return ", ".join(parts)
