"""HeldKids: tells rows of an audit trail that are about keys of another partition."""

from dataclasses import replace

from authz.core.trail.report import MAX_FINDINGS, Finding, Problem, Report
from authz.flows.partitioned.places import FIRST, Places


class HeldKids:
    """The keys whose rows may be in the trail of a partition.

    Partition 0 may have rows about any key, if keys may be moved: those from the time with one
    partition. Another one has rows about the keys that lie there.
    """

    def __init__(self, places: Places, partition: int) -> None:
        self._places = places
        self._partition = partition
        self._claimed: set[str] = set()

    def holds(self, kid: str) -> bool:
        """Return whether a row about this key may be here, as far as the kid tells.

        A key that may be moved here is believed until `checked`.
        """
        if self._places.partitions.of(kid) == self._partition:
            return True
        if not self._places.may_have_moved:
            return False
        if self._partition != FIRST:
            self._claimed.add(kid)
        return True

    async def checked(self, report: Report) -> Report:
        """Return the report with a finding for each key that was believed and lies elsewhere.

        Raises Unavailable if it cannot be asked where a key lies.
        """
        kids = sorted(self._claimed)
        places = await self._places.of_all(kids)
        found = [
            Finding(Problem.MISPLACED, kid, "rows are about this key, which lies elsewhere")
            for kid, at in zip(kids, places, strict=True)
            if at != self._partition
        ]
        findings = (*report.findings, *found)
        more = report.more + max(len(findings) - MAX_FINDINGS, 0)
        return replace(report, findings=findings[:MAX_FINDINGS], more=more)
