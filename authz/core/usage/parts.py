"""Parts: the entries of a batch by the partition that they belong to.

Rules:
1. An entry belongs to the partition of its key. One without a key belongs to partition 0.
2. So its request, its budgets and its charge id are counted in one step of one partition: the gate
   counts the charge ids of each partition apart, by the same rule.
3. The same batch always has the same parts. So the digest of the batch names each of them, too.
"""

from collections.abc import Sequence
from typing import Final

from authz.core.keys.text import KID_LENGTH, KID_PATTERN
from authz.core.partitions import Partitions
from authz.core.usage.entry import COUNT_END

MAX_KIDS: Final = 100_000  # whose partition is remembered
_KID: Final = slice(COUNT_END + 1, COUNT_END + 1 + KID_LENGTH)


class Parts:
    """Divides batches. It remembers the partitions of keys."""

    def __init__(self, partitions: Partitions) -> None:
        self._of = partitions.of
        self._known: dict[bytes, int] = {}

    def of(self, lines: Sequence[bytes]) -> dict[int, list[bytes]]:
        """Return the lines of a batch by partition, each part in their order; none is empty.

        A line that is no entry, which its meter refuses, belongs to partition 0.
        """
        parts: dict[int, list[bytes]] = {}
        known = self._known
        for line in lines:
            at = known.get(line[_KID])
            if at is None:
                at = self._find(line[_KID])
            part = parts.get(at)
            if part is None:
                parts[at] = [line]
            else:
                part.append(line)
        return parts

    def _find(self, kid: bytes) -> int:
        text = kid.decode("latin-1")
        if not KID_PATTERN.fullmatch(text):
            return 0
        if len(self._known) >= MAX_KIDS:
            self._known.clear()
        at = self._known[kid] = self._of(text)
        return at
