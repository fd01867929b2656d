"""Verify the audit trail of the store, also against a copy."""

from dataclasses import replace
from typing import Protocol

from authz.core.ports import TrailStore
from authz.core.trail.copies import CopyComparison
from authz.core.trail.report import MAX_FINDINGS, Report
from authz.core.trail.rows import Row
from authz.core.trail.verification import Verification
from authz.flows.trail.sealing import read_all


class TrailHeads(Protocol):
    """Knows where the trail ends, apart from its rows."""

    async def heads(self) -> tuple[int, str]:
        """Return the number of the last change and the last id that was given out; 0 and "".

        Raises Unavailable.
        """
        ...


async def verify(
    store: TrailStore,
    heads: TrailHeads,
    verification: Verification,
    *,
    known: int = 0,
    sealed_since: int = 0,
    copy: CopyComparison | None = None,
) -> Report:
    """Read the whole trail and return the report.

    known: a change that the store once had, as known from elsewhere. sealed_since: see
    Verification.finish. copy: an earlier copy of the trail. Raises Unavailable if the store fails.
    """
    number, last_id = await heads.heads()

    def use(row: Row) -> None:
        verification.feed(row)
        if copy is not None:
            copy.feed(row)

    await read_all(store, use)
    report = verification.finish(max(number, known), last_id, sealed_since)
    if copy is None:
        return report
    findings = (*report.findings, *copy.finish())
    more = report.more + max(len(findings) - MAX_FINDINGS, 0)
    return replace(report, findings=findings[:MAX_FINDINGS], more=more)
