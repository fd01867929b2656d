"""`authz audit verify` and `authz audit seal`."""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from authz.cli import storestate
from authz.cli.administration import stored_settings
from authz.cli.invocation import Invocation, common
from authz.cli.options import path_such_as
from authz.cli.over_api import is_over_api, verify_trail_over_api
from authz.cli.session_loop import run_interruptible
from authz.core import fields
from authz.core.errors import BadInput
from authz.core.partitions import Partitions
from authz.core.times import rfc3339
from authz.core.trail import documents
from authz.core.trail.labels import of_partition, split_label
from authz.core.trail.report import Problem, Report
from authz.core.trail.rows import Row, TrailKeys, position
from authz.core.trail.verification import Removals, Verification
from authz.flows.partitioned.trail import merged_report
from authz.flows.trail.sealing import Sealed
from authz.flows.trail.verifying import Make
from authz.flows.trail.verifying import verify as verify_trail
from authz.process.clock import SystemClock
from authz.settings.model import Settings
from authz.wiring.audit import audit_session, trail_keys

GOOD_FILE: Final = "audit.jsonl"
_NUMBER: Final = re.compile(r"\d{1,15}", re.ASCII)


def _number(_context: click.Context, parameter: click.Parameter, value: str) -> int:
    if not _NUMBER.fullmatch(value):
        raise BadInput(parameter.opts[0], f"{fields.shown(value)}: the number of a change")
    return int(value)


def _bound(_context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    return None if value is None else fields.duration_ms(parameter.opts[0], value)


@click.command()
@click.option(
    "--trimmed-before",
    metavar="N",
    default="0",
    callback=_number,
    help="Changes before N were removed on purpose.",
)
@click.option(
    "--unmarked-until",
    metavar="N",
    default="0",
    callback=_number,
    help="Older versions wrote entries up to change N.",
)
@click.option(
    "--max-unsealed",
    metavar="DURATION",
    callback=_bound,
    help="Fail if a row is older than this and not sealed.",
)
@click.option(
    "--copy",
    metavar="FILE",
    callback=path_such_as(GOOD_FILE),
    help="Compare with a copy that `authz audit ship` made.",
)
@click.option(
    "--file",
    metavar="FILE",
    callback=path_such_as(GOOD_FILE),
    help="Verify such a copy instead of the store.",
)
@common
@click.pass_obj
def verify(
    invocation: Invocation,
    *,
    trimmed_before: int,
    unmarked_until: int,
    max_unsealed: int | None,
    copy: str | None,
    file: str | None,
) -> None:
    """Verify that nobody falsified the audit trail.

    Every changed, removed, inserted or reordered row before the last checkpoint is found. The rows
    after it are protected by their marks and numbers only. An older state of the whole store, put
    back, shows only in a comparison with a copy. Exits with 1 if anything was found.

    \b
    Examples:
      authz audit verify
      authz audit verify --max-unsealed 5m --copy /var/lib/worm/audit.jsonl
      authz audit verify --json | jq '.findings[]'
    """
    if copy and file:
        raise BadInput("--file", "verifies a copy alone, --copy compares it; give one of them")
    if is_over_api(invocation):
        if copy or file:
            option = "--copy" if copy else "--file"
            raise BadInput(option, "is checked with the pepper: run it on the store's machine")
        bounds = (trimmed_before, unmarked_until, max_unsealed)
        _tell(invocation, verify_trail_over_api(invocation, *bounds))
        return
    settings = stored_settings(invocation)
    since = 0 if max_unsealed is None else SystemClock().wall_ms() - max_unsealed
    keys, partitions = trail_keys(settings), Partitions(settings.redis.count)
    if partitions.count > 1 and (trimmed_before or unmarked_until):
        option = "--trimmed-before" if trimmed_before else "--unmarked-until"
        raise BadInput(option, "is for one partition; each has numbers of its own")

    def make(holds: Callable[[str], bool] | None, removed: Mapping[str, bytes]) -> Verification:
        return Verification(
            keys,
            removed=removed,
            trimmed_before=trimmed_before,
            unmarked_until=unmarked_until,
            holds=holds,
        )

    if file:
        labels = range(partitions.count) if partitions.count > 1 else (None,)
        # A copy alone does not tell where moved keys lie, so none of its rows is misplaced.
        reports = [_verify_copy(file, at, keys, partial(make, None), since) for at in labels]
    else:
        reports = run_interruptible(_verify_store(settings, keys, make, since, copy))
    _tell(invocation, reports[0] if len(reports) == 1 else merged_report(reports))


def _tell(invocation: Invocation, report: Report) -> None:
    """Print a report. Raises Exit(1) if anything was found."""
    invocation.answer(_document(report), "\n".join(_lines(report)))
    if not report.is_intact:
        raise click.exceptions.Exit(1)


def _verify_copy(
    file: str, partition: int | None, keys: TrailKeys, make: Make, since: int
) -> Report:
    removals = Removals(keys)
    for row in _rows(file, partition):
        removals.feed(row)
    verification = make(removals.found)
    for row in documents.in_order(_rows(file, partition)):
        verification.feed(row)
    return verification.finish(sealed_since=since)


async def _verify_store(
    settings: Settings,
    keys: TrailKeys,
    make: Callable[[Callable[[str], bool] | None, Mapping[str, bytes]], Verification],
    since: int,
    copy: str | None,
) -> list[Report]:
    """Return the report of each partition. copy: the file of a copy to compare with, if any."""
    known = storestate.known_change(settings) or 0  # the highest number of all partitions
    reports = []
    async with audit_session(settings) as session:
        numbers = [(await trail.rows.heads())[0] for trail in session.trails]
        furthest = numbers.index(max(numbers))
        for at, trail in enumerate(session.trails):
            rows, partition, held = trail.rows, trail.partition, trail.held
            report = await verify_trail(
                *(rows, rows, keys, partial(make, held.holds if held else None)),
                known=max(trail.highest_seen, known if at == furthest else 0),
                sealed_since=since,
                copied=partial(_rows, copy, partition) if copy else None,
            )
            reports.append(await held.checked(report) if held else report)
    return reports


@click.command()
@common
@click.pass_obj
def seal(invocation: Invocation) -> None:
    """Seal the audit trail now, by a checkpoint behind its last row.

    `authz admin` does this every minute. Without it, let a timer run this command. Exits with 1 if
    sealed rows are forged or altered.

    \b
    Examples:
      authz audit seal
    """
    settings = stored_settings(invocation)

    async def run() -> Sealed:
        async with audit_session(settings) as session:
            return await session.sealer.seal()

    sealed = run_interruptible(run())
    text = f"rows sealed: {sealed.rows}" if sealed.rows else "every row is sealed already"
    document = {"rows": sealed.rows, "last": sealed.last or None, "wrong": sealed.wrong}
    if sealed.wrong:
        text += f"; {sealed.wrong} of them are forged or altered: run `authz audit verify`"
    invocation.answer(document, text)
    if sealed.wrong:
        raise click.exceptions.Exit(1)


def _rows(file: str, partition: int | None) -> Iterator[Row]:
    """Yield the rows of a partition in a copy, in the order of its lines. None: there is only one.

    Raises BadInput if the file cannot be read, or at a line that is not a row.
    """
    number = 0
    try:
        with Path(file).open(encoding="utf-8") as opened:
            for text in opened:
                number += 1
                yield from of_partition([documents.parse(text)], partition)
    except OSError as cause:
        raise BadInput("FILE", f"{file}: {cause.strerror}") from None
    except ValueError:
        raise BadInput("FILE", f"{file}: line {number} is no row of an audit trail") from None


def _document(report: Report) -> dict[str, Any]:
    sealed = position(split_label(report.sealed_until)[1])[0] if report.sealed_until else None
    return {
        "intact": report.is_intact,
        "rows": report.rows,
        "last": report.last or None,
        "checkpoints": report.checkpoints,
        "sealed_until_change": sealed,
        "sealed_at": rfc3339(report.sealed_at) if report.sealed_until else None,
        "unsealed_rows": report.unsealed,
        "unsealed_since": rfc3339(report.unsealed_since) if report.unsealed else None,
        "unmarked_rows": report.unmarked,
        "unmarked_until_change": report.unmarked_until if report.unmarked else None,
        "findings": [
            {"problem": found.problem.value, "at": found.where, "text": found.text}
            for found in report.findings
        ],
        "more_findings": report.more,
    }


def _lines(report: Report) -> Iterator[str]:
    yield f"{report.rows} rows, {report.checkpoints} checkpoints"
    if report.sealed_until:
        partition, row_id = split_label(report.sealed_until)
        if partition is None:
            yield f"sealed up to change {position(row_id)[0]}, at {rfc3339(report.sealed_at)}"
        else:
            yield f"all partitions are sealed, since {rfc3339(report.sealed_at)} or later"
    elif report.rows:
        yield "nothing is sealed: no checkpoint was made; run `authz admin` or `authz audit seal`"
    if report.unsealed:
        since = rfc3339(report.unsealed_since)
        yield (
            f"rows not sealed yet: {report.unsealed}, the oldest of {since}; "
            "their order is not proven"
        )
    if report.unmarked:
        yield (
            f"{report.unmarked} entries up to change {report.unmarked_until} have no mark, because "
            "an older version wrote them; they are protected from the next checkpoint on"
        )
    for found in report.findings:
        yield f"{found.problem.value}  {found.where}  {found.text}"
    if report.more:
        yield f"and {report.more} more"
    yield "the trail is intact" if report.is_intact else _advice(report)


def _advice(report: Report) -> str:
    kinds = {found.problem for found in report.findings}
    if kinds == {Problem.TRIMMED}:
        return "if the trail was trimmed on purpose, say so with --trimmed-before"
    if kinds == {Problem.UNMARKED}:
        return "if an older version wrote these entries, say so with --unmarked-until"
    return "the trail is not intact; compare with a copy outside the store: --copy FILE"
