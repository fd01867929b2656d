"""Completeness: which charge ids of a process came, and which are missing.

A process of the gate counts its charge ids from 1 without gaps, and reports how many it has issued.
The store counts entries by blocks of ids. So the number that never came is known, and also that of
a range of ids: for those issued some time ago no entry is on its way.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

PROCESS_DIGITS: Final = 14
"""How many digits at the start of a prefix of charge ids name the process. The others name the
partition, if the store has several: there each process has one prefix in each of them."""
BLOCK: Final = 4096  # charge ids whose entries are counted together
MOST_MISSING: Final = 100  # at most one entry in so many may be missing
UNDER_WAY: Final = 100  # entries of one process that may be missing for another reason


@dataclass(frozen=True, slots=True)
class ProcessSeen:
    """The entries of one process that came, in one partition.

    seen: how many, each counted once. highest: the highest charge id, as a number. lost: how many
    are missing in blocks that are no longer kept apart. extra: entries of blocks that were complete
    or no longer kept, such as of a second logger for the same requests. repeated: entries of
    batches that came again and were left out. at: of the last entry, in ms since the epoch. blocks:
    by number (charge id // 4096) the entries that came, of the blocks that are not complete.
    """

    process: str
    seen: int
    highest: int
    lost: int = 0
    extra: int = 0
    repeated: int = 0
    at: int = 0
    blocks: Mapping[int, int] = field(default_factory=dict)


def joined(found: Iterable[ProcessSeen]) -> list[ProcessSeen]:
    """Return one entry for each process, in the order of their first ones.

    A process that counted on while its store was moved to several partitions has an entry in
    partition 0, with all from before, and others with what came late. So the one with the most
    entries knows which blocks are complete, and the others have numbers to add.
    """
    names: dict[str, list[ProcessSeen]] = {}
    for each in found:
        names.setdefault(each.process, []).append(each)
    return [some[0] if len(some) == 1 else _joined(some) for some in names.values()]


def _joined(some: list[ProcessSeen]) -> ProcessSeen:
    main, *others = sorted(some, key=lambda each: each.seen, reverse=True)
    blocks, top = dict(main.blocks), main.highest // BLOCK
    for other in others:
        for block, number in other.blocks.items():
            if block in blocks or block > top:
                blocks[block] = blocks.get(block, 0) + number
    return replace(
        main,
        seen=sum(each.seen for each in some),
        highest=max(each.highest for each in some),
        extra=sum(each.extra for each in some),
        repeated=sum(each.repeated for each in some),
        at=max(each.at for each in some),
        blocks=blocks,
    )


def missing(found: ProcessSeen, issued: int) -> int:
    """Return how many of the charge ids 1 to `issued` have no entry.

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


@dataclass(frozen=True, slots=True)
class Completeness:
    """How much of the usage came, over all processes that the store still knows.

    issued: charge ids that were given out. seen: entries that came. missing: charge ids without an
    entry; those of requests that still run are among them. repeated: entries that came again and
    were left out. unheard: processes of the last day that lack more than UNDER_WAY (100) entries
    and more than one in MOST_MISSING (100), such as one whose proxy has no logger. processes: by
    prefix of charge ids, how many of them are issued and how many are missing.
    """

    issued: int = 0
    seen: int = 0
    missing: int = 0
    repeated: int = 0
    unheard: int = 0
    processes: Mapping[str, tuple[int, int]] = field(default_factory=dict, compare=False)

    @property
    def is_enough(self) -> bool:
        """Whether at most 1 % is missing of all entries, and of those of each process."""
        return self.seen > 0 and not self.unheard and self.missing * MOST_MISSING <= self.issued

    def since(self, before: "Completeness") -> tuple[int, int]:
        """Return how many charge ids were issued since `before`, and how many more are missing.

        By process: one that the store has forgotten takes its missing ones out of the sums, and
        would hide those of another one.
        """
        issued = lost = 0
        for name, (number, gap) in self.processes.items():
            number_before, gap_before = before.processes.get(name, (0, 0))
            issued += max(0, number - number_before)
            lost += max(0, gap - gap_before)
        return issued, lost


def completeness(issued: Mapping[str, int], found: Iterable[ProcessSeen]) -> Completeness:
    """Return the sums over all processes.

    issued: by process, how many charge ids it has given out. The highest id that came counts
    instead if it is higher, or if `issued` lacks the process. All ids of a process without entries
    are missing.
    """
    seen = {each.process: each for each in found}
    numbers = {name: max(issued.get(name, 0), each.highest) for name, each in seen.items()}
    numbers = {**issued, **numbers}
    gaps = {name: _missing(seen.get(name), number) for name, number in numbers.items()}
    heard = {name[:PROCESS_DIGITS]: [0, 0] for name in issued}  # issued and missing of a process
    for name, number in numbers.items():
        if found_of := heard.get(name[:PROCESS_DIGITS]):
            found_of[0] += number
            found_of[1] += gaps[name]
    return Completeness(
        issued=sum(numbers.values()),
        seen=sum(each.seen for each in seen.values()),
        missing=sum(gaps.values()),
        repeated=sum(each.repeated for each in seen.values()),
        unheard=sum(gap > max(UNDER_WAY, number // MOST_MISSING) for number, gap in heard.values()),
        processes={name: (number, gaps[name]) for name, number in numbers.items()},
    )


def _missing(found: ProcessSeen | None, issued: int) -> int:
    # Of a process without entries no block is open either.
    return missing(found, issued) if found and found.highest else issued
