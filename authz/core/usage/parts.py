"""Parts: the entries of a batch by the partition that they belong to.

Rules:
1. An entry belongs to the home of its key: that of the tenant, the project or the client that it
   names. One without a key belongs to partition 0.
2. So its request, its budgets and its charge id are counted in one step of one partition: the gate
   counts the charge ids of each partition apart, by the same rule.
3. The same batch always has the same parts: they follow from its text alone. So the digest of the
   batch names each of them, too.
4. An entry of version 2 names no owner. The last two digits of its process are the partition, or it
   is one of a gate from the time with one partition, and the kid decides.
"""

from collections.abc import Sequence
from typing import Final

from authz.core.keys.text import KID_LENGTH, KID_PATTERN
from authz.core.partitions import Partitions
from authz.core.usage.entry import COUNT_END, PROCESS_END
from authz.core.usage.line import GATE_FIELDS_3

MAX_OWNERS: Final = 100_000  # whose partition is remembered
_KID: Final = slice(COUNT_END + 1, COUNT_END + 1 + KID_LENGTH)
_PARTITION: Final = slice(PROCESS_END - 2, PROCESS_END)
_VERSION_2: Final = b"2"
_KEY: Final = 1 + GATE_FIELDS_3.index("key_id")
_OWNERS: Final = slice(1 + GATE_FIELDS_3.index("client_id"), 2 + GATE_FIELDS_3.index("tenant_id"))
_NONE: Final = b"-"


class Parts:
    """Divides batches. It remembers the partitions of owners."""

    def __init__(self, partitions: Partitions) -> None:
        self._partitions = partitions
        self._known: dict[tuple[bytes, ...], int] = {}

    def of(self, lines: Sequence[bytes]) -> dict[int, list[bytes]]:
        """Return the lines of a batch by partition, each part in their order; none is empty.

        A line that is no entry, which its meter refuses, belongs to any partition.
        """
        parts: dict[int, list[bytes]] = {}
        known = self._known
        for line in lines:
            words = line.split(b" ", _OWNERS.stop)
            owners = (words[0], *words[_OWNERS]) if words[_KEY : _KEY + 1] != [_NONE] else ()
            at = known.get(owners)
            if at is None:
                at = self._find(line, owners)
            part = parts.get(at)
            if part is None:
                parts[at] = [line]
            else:
                part.append(line)
        return parts

    def _find(self, line: bytes, owners: tuple[bytes, ...]) -> int:
        if not owners:
            return 0
        version, *names = owners
        if version == _VERSION_2 or len(names) < _OWNERS.stop - _OWNERS.start:
            return self._of_version_2(line)
        client, project, tenant = ("" if one == _NONE else one.decode("latin-1") for one in names)
        if len(self._known) >= MAX_OWNERS:
            self._known.clear()
        at = self._known[owners] = self._partitions.home(client, project, tenant)
        return at

    def _of_version_2(self, line: bytes) -> int:
        digits, kid = line[_PARTITION], line[_KID].decode("latin-1")
        if not KID_PATTERN.fullmatch(kid):
            return 0
        try:
            at = int(digits, 16)
        except ValueError:
            return 0
        return at if at < self._partitions.count else self._partitions.of(kid)
