"""Imports into several partitions. An imported key is known by its digests in its partition alone.

So every partition is asked before a key is imported. Two imports of one key at the same moment, for
owners of different homes, can both succeed: `authz doctor` cannot see that. Import from one place.
"""

from collections.abc import Iterator, Sequence

from authz.core.admin_ports import ImportStore
from authz.core.changes import KeyChange
from authz.core.errors import AliasTaken, Deleted, Fault
from authz.flows.partitioned.asking import ask_all
from authz.flows.partitioned.keys import PartitionedBatches
from authz.flows.partitioned.places import Places


class PartitionedImports:
    """An ImportStore."""

    def __init__(self, places: Places, parts: Sequence[ImportStore]) -> None:
        self._parts = parts
        self._batches = PartitionedBatches(places, parts)

    async def allow_imports(self) -> None:
        """Implement ImportStore.allow_imports: in all partitions, or it raises Unavailable."""
        await ask_all([part.allow_imports() for part in self._parts])

    async def resolve_all(self, digests: Sequence[Sequence[bytes]]) -> list[str | Deleted | None]:
        """Implement ImportStore.resolve_all. Raises Unavailable if one partition is missing."""
        found = await ask_all([part.resolve_all(digests) for part in self._parts])
        return [_owner(answers) for answers in zip(*found, strict=True)]

    async def apply_all(self, changes: Sequence[KeyChange]) -> list[int | Fault]:
        """Implement ImportStore.apply_all. Every partition is asked for the digests first."""
        outcomes: dict[int, int | Fault] = {}
        for turn in _turns(changes):
            owners = await self.resolve_all([changes[place].aliases for place in turn])
            wanted: list[int] = []
            for place, owner in zip(turn, owners, strict=True):
                if isinstance(owner, Deleted):
                    outcomes[place] = owner
                elif owner not in {None, changes[place].record.kid}:
                    outcomes[place] = AliasTaken(str(owner))
                else:
                    wanted.append(place)
            applied = await self._batches.apply_all([changes[place] for place in wanted])
            outcomes |= zip(wanted, applied, strict=True)
        return [outcomes[place] for place in range(len(changes))]


def _owner(answers: Sequence[str | Deleted | None]) -> str | Deleted | None:
    """Return the kid that one partition knows, else Deleted if one knows that, else None."""
    for kid in answers:
        if isinstance(kid, str):
            return kid
    return next((answer for answer in answers if answer is not None), None)


def _turns(changes: Sequence[KeyChange]) -> Iterator[list[int]]:
    """Yield the places of changes in turns, so that no two of a turn share a digest."""
    left = list(range(len(changes)))
    while left:
        seen: set[bytes] = set()
        turn: list[int] = []
        later: list[int] = []
        for place in left:
            digests = set(changes[place].aliases)
            (later if seen & digests else turn).append(place)
            seen |= digests
        yield turn
        left = later
