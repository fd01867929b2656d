"""Completeness: which charge ids of a process came, and which are missing.

A process of the gate counts its charge ids from 1 without gaps, and reports how many it has issued.
The store counts entries by blocks of ids. So the number that never came is known, and also that of
a range of ids: for those issued some time ago no entry is on its way.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

BLOCK: Final = 4096  # charge ids whose entries are counted together


@dataclass(frozen=True, slots=True)
class ProcessSeen:
    """The entries of one process that came.

    seen: how many, each counted once. highest: the highest charge id. lost: how many are missing in
    blocks that are no longer kept apart. extra: entries of blocks that were complete or no longer
    kept, such as of a second logger for the same requests. repeated: entries of batches that came
    again and were left out. at: of the last entry, in ms since the epoch. blocks: the blocks that
    are not complete, and how many entries of each came.
    """

    process: str
    seen: int
    highest: int
    lost: int = 0
    extra: int = 0
    repeated: int = 0
    at: int = 0
    blocks: Mapping[int, int] = field(default_factory=dict)


def missing(found: ProcessSeen, issued: int) -> int:
    """Return how many of the first `issued` charge ids have no entry.

    It is exact at the end of a block and for all ids. Within a block that is not complete, entries
    are taken to be of its lowest ids.
    """
    first_after = issued + 1
    gaps = found.lost
    for block, number in found.blocks.items():
        start = block * BLOCK
        wanted = min(first_after, start + BLOCK) - max(start, 1)
        gaps += max(0, wanted - number)
    # Blocks above the highest one that came have no number.
    top = found.highest // BLOCK
    return gaps + max(0, first_after - max((top + 1) * BLOCK, 1))
