"""Comparison of the trail with a copy that was made earlier, outside the store."""

from collections.abc import Iterable, Iterator, Mapping

from authz.core.trail.report import Finding, Problem
from authz.core.trail.rows import Row, row_hash


class CopyComparison:
    """Compares rows of the store with a copy. Rows that only the store has are no finding.

    copied: read at once, in any order; only a hash of each row is kept in memory.
    """

    def __init__(self, copied: Iterable[Row]) -> None:
        self._hashes: dict[str, bytes] = {}
        self._findings: list[Finding] = []
        for row in copied:
            digest = row_hash(row.id, row.fields)
            if self._hashes.setdefault(row.id, digest) != digest:
                text = "the copy has two rows of this id that differ"
                self._findings.append(Finding(Problem.ALTERED, row.id, text))

    def feed(self, row: Row) -> None:
        """Compare a row of the store with the copy's row of this id. `finish` has the result."""
        digest = self._hashes.pop(row.id, None)
        if digest is not None and digest != row_hash(row.id, row.fields):
            text = "the store has another row of this id than the copy"
            self._findings.append(Finding(Problem.ALTERED, row.id, text))

    def finish(self, removed: Mapping[str, bytes]) -> Iterator[Finding]:
        """Yield the findings: rows that differ, then rows that only the copy has.

        removed: ids and hashes of rows that deletions removed from the store. They are no finding.
        """
        yield from self._findings
        for row_id, digest in self._hashes.items():
            if removed.get(row_id) == digest:
                continue
            yield Finding(Problem.MISSING, row_id, "the copy has this row, the store does not")
