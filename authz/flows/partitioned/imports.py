"""Imports into several partitions. An imported key is known by its digests in its partition alone.

Rules:
1. The digests of a key are claimed for its home first, then every partition is asked for them, and
   then the key is written: see core/import_claims.py. So of several imports of one key at the same
   moment, for owners of different homes, one is made. The others find its kid, or fail.
2. Claims are given up when the outcome is known. Else they end by themselves.
3. A claim of another home is waited for, after the other keys of the batch are written: else two
   imports could wait for each other.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final

from authz.core.admin_ports import ImportStore
from authz.core.changes import KeyChange
from authz.core.errors import AliasTaken, Conflict, Deleted, Fault, Unavailable
from authz.core.import_claims import CLAIM_SECONDS, WRITE_SECONDS, ClaimStore
from authz.core.ports import Clock
from authz.flows.partitioned.asking import ask_all
from authz.flows.partitioned.import_claims import ImportClaims
from authz.flows.partitioned.keys import PartitionedBatches
from authz.flows.partitioned.places import Places

TRIES: Final = 20  # of a claim that another home has
PAUSE: Final = 0.1  # seconds between two tries
BUSY: Final = (
    "another import is bringing this key in for an owner in another partition; "
    f"repeat this one after {CLAIM_SECONDS // 60} minutes"
)
TOO_SLOW: Final = "the store took too long to say whether these keys exist; repeat the import"


class PartitionedImports:
    """An ImportStore. parts, claims: of each partition, in order. sleep: between two tries."""

    def __init__(
        self,
        places: Places,
        parts: Sequence[ImportStore],
        claims: Sequence[ClaimStore],
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._parts = parts
        self._claims = ImportClaims(places.partitions, claims)
        self._clock = clock
        self._sleep = sleep
        self._batches = PartitionedBatches(places, parts)

    async def allow_imports(self) -> None:
        """Implement ImportStore.allow_imports: in all partitions, or it raises Unavailable."""
        await ask_all([part.allow_imports() for part in self._parts])

    async def resolve_all(self, digests: Sequence[Sequence[bytes]]) -> list[str | Deleted | None]:
        """Implement ImportStore.resolve_all. Raises Unavailable if one partition is missing."""
        found = await ask_all([part.resolve_all(digests) for part in self._parts])
        return [_owner(answers) for answers in zip(*found, strict=True)]

    async def apply_all(self, changes: Sequence[KeyChange]) -> list[int | Fault]:
        """Implement ImportStore.apply_all.

        A key that another import is bringing in gets Unavailable. Raises Unavailable if a partition
        is missing.
        """
        outcomes: dict[int, int | Fault] = {}
        for turn in _turns(changes):
            outcomes |= await self._apply_turn(changes, turn)
        return [outcomes[place] for place in range(len(changes))]

    async def _apply_turn(
        self, changes: Sequence[KeyChange], turn: Sequence[int]
    ) -> dict[int, int | Fault]:
        """Apply the changes at these places, of which no two share a digest."""
        outcomes: dict[int, int | Fault] = {}
        for attempt in range(TRIES):
            left = [place for place in turn if place not in outcomes]
            if not left:
                return outcomes
            if attempt:
                await self._sleep(PAUSE)
            until = self._clock.monotonic() + WRITE_SECONDS
            taken = await self._claims.take([changes[place] for place in left])
            if taken:
                claimed = [left[at] for at in taken]
                found = await self._apply([changes[place] for place in claimed], until)
                outcomes |= zip(claimed, found, strict=True)
        return {place: Unavailable(BUSY) for place in turn} | outcomes

    async def _apply(self, changes: Sequence[KeyChange], until: float) -> list[int | Fault]:
        """Apply changes whose digests are claimed. until: when it is too late, by the clock."""
        outcomes: dict[int, int | Fault] = {}
        owners = await self.resolve_all([change.aliases for change in changes])
        free: list[int] = []
        for place, (change, owner) in enumerate(zip(changes, owners, strict=True)):
            if isinstance(owner, Deleted):
                outcomes[place] = owner
            elif owner not in {None, change.record.kid}:
                outcomes[place] = AliasTaken(str(owner))
            else:
                free.append(place)
        if self._clock.monotonic() > until:
            raise Unavailable(TOO_SLOW)
        applied = await self._batches.apply_all([changes[place] for place in free])
        outcomes |= zip(free, applied, strict=True)
        await self._claims.give_up(
            [changes[place] for place, outcome in outcomes.items() if _is_final(outcome)]
        )
        return [outcomes[place] for place in range(len(changes))]


def _is_final(outcome: int | Fault) -> bool:
    """Return whether the key is in the store for good, or can never be."""
    return isinstance(outcome, int | AliasTaken | Deleted | Conflict)


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
