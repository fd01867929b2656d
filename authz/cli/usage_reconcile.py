"""`authz usage reconcile`: compare usage with an access log of Envoy."""

from itertools import islice
from typing import Any, Final

import click

from authz.cli.administration import with_reading
from authz.cli.columns import columns
from authz.cli.counted import counted
from authz.cli.invocation import Invocation, common
from authz.cli.options import path_such_as
from authz.cli.over_api import refuse_over_api
from authz.cli.times import ago_ms
from authz.core.errors import BadInput
from authz.core.times import rfc3339
from authz.core.usage.counts import Counts
from authz.core.usage.logged import LoggedUsage, differences
from authz.core.usage.question import HOUR_MS, By, Span, span
from authz.flows.usage.reading import UsageReading
from authz.process.clock import SystemClock

LINES: Final = 10_000  # that are in memory at a time


@click.command()
@click.option(
    "--file",
    "path",
    metavar="FILE",
    required=True,
    callback=path_such_as("envoy-access.log"),
    help="The access log.",
)
@click.option("--since", metavar="TIME", help="RFC 3339 or age. Default: by the log.")
@click.option("--until", metavar="TIME", help="RFC 3339 or age. Default: by the log.")
@common
@click.pass_obj
def reconcile(invocation: Invocation, path: str, since: str | None, until: str | None) -> None:
    """Compare the usage of keys with a log that Envoy wrote itself.

    The log has the lines of the usage logger, as an access log in a file. Without --since and
    --until the hours between the first and the last one of the log are compared, because these two
    may be incomplete. Exit code 1 if a key differs.

    \b
    Examples:
      authz usage reconcile --file /var/log/envoy/usage.log
      authz usage reconcile --file usage.log --since 2026-12-01T00:00:00Z --until 1h
    """
    refuse_over_api(invocation)
    if (since is None) != (until is None):
        raise click.UsageError("give --since and --until, or neither")
    logged = _read(path)
    wanted = _span(logged, since, until)
    in_log = logged.of(wanted.slots)

    async def work(reading: UsageReading) -> dict[str, Counts]:
        return await reading.sums(wanted, in_log)

    found = differences(in_log, with_reading(invocation, work))
    rows = [
        {
            "kid": each.kid,
            "logged": each.logged.requests,
            "counted": each.counted.requests,
            "differences": {field.name.lower(): gap for field, gap in each.fields.items()},
        }
        for each in found
    ]
    document = {
        "since": rfc3339(wanted.since),
        "until": rfc3339(wanted.until),
        "requests": sum(counts.requests for counts in in_log.values()),
        "keys": len(in_log),
        "refused_lines": logged.refused,
        "differences": rows,
    }
    invocation.answer(document, _text(document))
    if rows:
        raise click.exceptions.Exit(1)


def _read(path: str) -> LoggedUsage:
    logged = LoggedUsage()
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            while lines := [line.rstrip(b"\r\n") for line in islice(file, LINES)]:
                logged.add(lines)
    except OSError as cause:
        raise BadInput("--file", f"{path}: {cause.strerror}") from None
    return logged


def _span(logged: LoggedUsage, since: str | None, until: str | None) -> Span:
    if since is None or until is None:
        hours = logged.whole_hours
        if not hours:
            problem = "has no whole hour of keys between its first and its last one"
            raise BadInput("--file", f"{problem}; give --since and --until")
        begins, ends = hours.start * HOUR_MS, hours.stop * HOUR_MS
    else:
        now = SystemClock().wall_ms()
        begins, ends = ago_ms("--since", since, now), ago_ms("--until", until, now)
    try:
        return span(begins, ends, By.HOUR, of_keys=True)
    except BadInput as cause:
        raise BadInput(f"--{cause.field}", cause.problem) from None


def _text(document: dict[str, Any]) -> str:
    requests, keys = counted(document["requests"], "request"), counted(document["keys"], "key")
    refused = counted(document["refused_lines"], "line")
    about = (
        f"{document['since']} to {document['until']}: {requests} of {keys} in the log, "
        f"{refused} not in order"
    )
    if not document["differences"]:
        return f"{about}\nno difference"
    lines = [
        (
            row["kid"],
            str(row["logged"]),
            str(row["counted"]),
            ", ".join(f"{name} {gap:+d}" for name, gap in row["differences"].items()),
        )
        for row in document["differences"]
    ]
    return f"{about}\n{columns([('KID', 'LOG', 'COUNTED', 'COUNTED MINUS LOG'), *lines])}"
