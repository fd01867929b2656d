"""Usage as a table, as JSON and as CSV."""

import csv
import io
from typing import Any, Final

from authz.cli.columns import columns
from authz.core.csv_cell import csv_cell
from authz.core.limits.amounts import dollars
from authz.core.times import rfc3339
from authz.core.usage.completeness import Completeness
from authz.core.usage.counts import Counts, Field
from authz.core.usage.question import NAMED, By, Report

# The columns of a table, which fits into 80 characters. JSON and CSV have every number.
NUMBERS: Final = ("REQUESTS", "OK", "ERRORS", "DENIED", "ABORTED", "UNITS", "BYTES OUT")
TOKENS: Final = ("REQUESTS", "INPUT", "OUTPUT", "CACHED", "REASONING", "USD")
TOP_NUMBERS: Final = ("REQUESTS", "ERRORS", "DENIED", "UNITS", "BYTES OUT")  # beside kid and client
DATES: Final = {
    By.MONTH: 7,
    By.DAY: 10,
    By.HOUR: 13,
    By.MINUTE: 16,
}  # characters of a time that say which one
NO_NAME: Final = "-"


def completeness_document(found: Completeness) -> dict[str, int]:
    """Return the completeness as JSON members: issued, seen, missing, repeated."""
    return {
        "issued": found.issued,
        "seen": found.seen,
        "missing": found.missing,
        "repeated": found.repeated,
    }


def document(report: Report) -> dict[str, Any]:
    """Return the report as JSON members, with a row for each group.

    Times are RFC 3339; a route without a name is "". denied_by_reason: None for several keys.
    """
    return {
        "since": rfc3339(report.span.since),
        "until": rfc3339(report.span.until),
        "by": report.by.value,
        "keys": report.keys,
        "rows": [
            {_member(report): _whole(group)} | counts.by_name()
            for group, counts in report.groups.items()
        ],
        "total": report.total.by_name(),
        "denied_by_reason": None if report.denials is None else dict(report.denials),
        "completeness": report.completeness and completeness_document(report.completeness),
    }


def rows_as_csv(report: Report) -> str:
    """Return the rows as CSV with a header. Lines end with LF, the last row with nothing.

    The name of a route that a spreadsheet could run as a formula gets an apostrophe in front.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow((_member(report), *Counts().by_name()))
    for group, counts in report.groups.items():
        writer.writerow((csv_cell(_whole(group)), *counts.by_name().values()))
    return file.getvalue().rstrip("\n")


def text(report: Report, *, has_cost: bool) -> str:
    """Return the report as a table, and the completeness in its last line.

    has_cost: the table has tokens and money.
    """
    names, row = (TOKENS, token_cells) if has_cost else (NUMBERS, cells)
    lines: list[tuple[str, ...]] = [(report.by.value.upper(), *names)]
    for group, counts in report.groups.items():
        lines.append((_short(report.by, group), *row(counts)))
    lines.append(("total", *row(report.total)))
    parts = [columns(lines) if report.groups else "no requests"]
    if report.denials:
        reasons = ", ".join(f"{name} {number}" for name, number in report.denials.items())
        which = "without a key, " if report.keys is None else ""
        parts.append(f"denied {which}by reason: {reasons}")
    span = f"{rfc3339(report.span.since)} to {rfc3339(report.span.until)}"
    whose = "all requests" if report.keys is None else f"keys: {report.keys}"
    parts.append(f"{span}, {whose}")
    if report.completeness is not None:
        parts.append(completeness_line(report.completeness))
    return "\n".join(parts)


def cells(counts: Counts) -> tuple[str, ...]:
    """Return the cells of the columns NUMBERS. Errors are `4+1`: of the client, of the server."""
    found = {name: str(number) for name, number in counts.by_name().items()}
    errors = f"{found['client_error']}+{found['server_error']}"
    ended = (found["requests"], found["ok"], errors, found["denied"], found["aborted"])
    return (*ended, found["units"], found["bytes_out"])


def token_cells(counts: Counts) -> tuple[str, ...]:
    """Return the cells of the columns TOKENS."""
    kinds = (Field.INPUT_TOKENS, Field.OUTPUT_TOKENS, Field.CACHED_TOKENS, Field.REASONING_TOKENS)
    numbers = (counts.requests, *(counts[kind] for kind in kinds))
    return (*map(str, numbers), dollars(counts[Field.MICRO_USD]))


def top_cells(counts: Counts) -> tuple[str, ...]:
    """Return the cells of the columns TOP_NUMBERS."""
    found = dict(zip(NUMBERS, cells(counts), strict=True))
    return tuple(found[name] for name in TOP_NUMBERS)


def completeness_line(found: Completeness) -> str:
    """Return the completeness in one line: `issued 10, seen 9, missing 1`."""
    return f"issued {found.issued}, seen {found.seen}, missing {found.missing}"


def _member(report: Report) -> str:
    return report.by.value if report.by in NAMED else "start"


def _whole(group: int | str) -> str:
    return rfc3339(group) if isinstance(group, int) else group


def _short(by: By, group: int | str) -> str:
    if isinstance(group, int):
        return rfc3339(group)[: DATES[by]] + (":00" if by is By.HOUR else "")
    return group or NO_NAME
