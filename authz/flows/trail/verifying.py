"""Verify the audit trail of the store, also against a copy."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, Protocol

from authz.core.errors import Unavailable
from authz.core.trail.copies import CopyComparison
from authz.core.trail.ports import TrailStore
from authz.core.trail.report import MAX_FINDINGS, Finding, Report
from authz.core.trail.rows import Row, TrailKeys
from authz.core.trail.verification import Removals, Verification
from authz.flows.trail.sealing import read_all

MAX_TRIES: Final = 5


class TrailHeads(Protocol):
    """Knows where the trail ends, apart from its rows."""

    async def heads(self) -> tuple[int, str]:
        """Return the number of the last change, and the last id that was given out to a row.

        0 and "" if there was none. Raises Unavailable.
        """
        ...


Make = Callable[[Mapping[str, bytes]], Verification]


async def verify(
    store: TrailStore,
    heads: TrailHeads,
    keys: TrailKeys,
    make: Make,
    *,
    known: int = 0,
    sealed_since: int = 0,
    copied: Callable[[], Iterable[Row]] | None = None,
) -> Report:
    """Read the whole trail twice and return the report: the first time for what was deleted.

    make: returns a verification, from ids and hashes of removed rows. known: a change that the
    store once had, as known from elsewhere. sealed_since: see Verification.finish. copied: reads
    the rows of an earlier copy. If a key is deleted meanwhile, everything is read again. Raises
    Unavailable if the store fails, or keys are deleted all the time.
    """
    for _ in range(MAX_TRIES):
        before, after = Removals(keys), Removals(keys)
        await read_all(store, before.feed)
        verification = make(before.found)
        compared = CopyComparison(copied()) if copied else None
        number, last_id = await heads.heads()
        uses = [verification.feed, after.feed, *([compared.feed] if compared else [])]
        await read_all(store, partial(_use_all, uses))
        if after.found != before.found:
            continue
        report = verification.finish(max(number, known), last_id, sealed_since)
        return report if compared is None else _with(report, compared.finish(before.found))
    raise Unavailable("keys are deleted all the time; verify the trail when that has ended")


def _use_all(uses: Sequence[Callable[[Row], None]], row: Row) -> None:
    for use in uses:
        use(row)


def _with(report: Report, found: Iterable[Finding]) -> Report:
    findings = (*report.findings, *found)
    more = report.more + max(len(findings) - MAX_FINDINGS, 0)
    return replace(report, findings=findings[:MAX_FINDINGS], more=more)
