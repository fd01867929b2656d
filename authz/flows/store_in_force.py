"""StoreInForce: what takes rights away works also while the store is moved to more partitions.

At the end of a move the store takes no changes for some seconds. A change that takes rights away
then waits here, and is made again until it is in the store that is in force: in the old one, if the
move was given up, else in its partitions. It is the same change, with the same id, so it is made
once. Other changes are refused at once, because nothing that gives rights may depend on a wait.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from authz.core.changes import KeyChange
from authz.core.errors import Fault, Frozen, Unavailable
from authz.core.ports import Clock

if TYPE_CHECKING:
    from authz.core.admin_ports import BatchStore, KeyStore
    from authz.core.records import KeyRecord

# Longer than a store of a million keys is frozen, and shorter than a call of the admin API.
PATIENCE: Final = 100.0  # seconds
PAUSE: Final = 0.25  # seconds between two tries
NEWS: Final = 5.0  # seconds between two lines about the wait

log = logging.getLogger("authz.store")

P = TypeVar("P")
P_co = TypeVar("P_co", covariant=True)
T = TypeVar("T")


class MoveState(Enum):
    """How far a move of the store is. OPEN: it takes changes."""

    NONE = "none"
    OPEN = "open"
    FROZEN = "frozen"
    DONE = "done"


class Move(Protocol[P_co]):
    """Looks at the move of a store. Methods raise Unavailable."""

    async def state(self) -> MoveState:
        """Return how far the move is now."""
        ...

    async def parts(self) -> P_co:
        """Return the parts of the store after its move, which is DONE."""
        ...


class StoreInForce(Generic[P]):
    """The parts of the store. before: those before a move. parts: those that are in force now."""

    def __init__(
        self,
        before: P,
        move: Move[P],
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.before = before
        self.parts = before
        self._move = move
        self._clock = clock
        self._sleep = sleep
        self._looking = asyncio.Lock()
        self._told_at = float("-inf")

    @property
    def is_moved(self) -> bool:
        """Whether the parts after a move are in force."""
        return self.parts is not self.before

    async def run(self, work: Callable[[P], Awaitable[T]]) -> T:
        """Return the result of `work` with the parts in force.

        While it raises Frozen because the store is moved, it is called again, for PATIENCE (100 s).
        Then Frozen is raised, and at once without a move.
        """
        end, was_open = None, False
        while True:
            parts = self.parts
            try:
                return await work(parts)
            except Frozen:
                state = await self._state(parts, is_waiting=end is not None)
                now = self._clock.monotonic()
                end = now + PATIENCE if end is None else end
                is_open = state is MoveState.OPEN  # it was frozen a moment ago
                if state is MoveState.NONE or now >= end or (is_open and was_open):
                    raise
                was_open = is_open
            if state is MoveState.FROZEN:
                self._tell(end - now)
                await self._sleep(PAUSE)

    async def _state(self, parts: P, *, is_waiting: bool) -> MoveState:
        """Return how far the move is. If it is done, put its parts in force."""
        async with self._looking:
            if self.parts is not parts:
                return MoveState.DONE
            if self.is_moved:  # a value is damaged
                return MoveState.NONE
            try:
                state = await self._move.state()
                if state is MoveState.DONE:
                    self.parts = await self._move.parts()
            except Unavailable:  # such as in a failover
                return MoveState.FROZEN if is_waiting else MoveState.NONE
            # A move that was cancelled meanwhile has left the store as it was.
            return MoveState.OPEN if is_waiting and state is MoveState.NONE else state

    def _tell(self, left: float) -> None:
        now = self._clock.monotonic()
        if now - self._told_at >= NEWS:
            self._told_at = now
            log.warning(
                "the store is being moved to more partitions; a change that takes rights away "
                "waits for it, at most %.0f s more",
                left,
            )


class KeysInForce(Generic[P]):
    """A KeyStore. Changes that only take rights away wait for the end of a move."""

    def __init__(self, store: StoreInForce[P], keys: "Callable[[P], KeyStore]") -> None:
        self._store = store
        self._keys = keys

    async def find(self, kid: str) -> "KeyRecord | None":
        """Implement KeyStore.find."""
        return await self._store.run(lambda parts: self._keys(parts).find(kid))

    async def apply(self, change: KeyChange) -> int:
        """Implement KeyStore.apply."""
        if not change.narrows:  # a new key has a kid of the partitions before
            return await self._keys(self._store.before).apply(change)
        return await self._store.run(lambda parts: self._keys(parts).apply(change))

    async def replicas(self, change: KeyChange, version: int) -> int | None:
        """Implement KeyStore.replicas."""
        return await self._keys(self._store.parts).replicas(change, version)


class BatchesInForce(Generic[P]):
    """A BatchStore. Changes that only take rights away wait for the end of a move."""

    def __init__(self, store: StoreInForce[P], batches: "Callable[[P], BatchStore]") -> None:
        self._store = store
        self._batches = batches

    async def apply_all(self, changes: Sequence[KeyChange]) -> list[int | Fault]:
        """Implement BatchStore.apply_all."""
        if not all(change.narrows for change in changes):
            return await self._batches(self._store.before).apply_all(changes)
        outcomes: dict[int, int | Fault] = {}

        async def apply(parts: P) -> None:
            left = [at for at in range(len(changes)) if _is_left(outcomes.get(at))]
            found = await self._batches(parts).apply_all([changes[at] for at in left])
            outcomes.update(zip(left, found, strict=True))
            for one in found:
                if isinstance(one, Frozen):
                    raise one

        try:
            await self._store.run(apply)
        except Frozen:
            if len(outcomes) < len(changes):  # none was made
                raise
        return [outcomes[at] for at in range(len(changes))]


def _is_left(outcome: int | Fault | None) -> bool:
    return outcome is None or isinstance(outcome, Frozen)


class PartInForce(Generic[P]):
    """Stands for a part of the store: each method is that of the parts in force, and waits.

    All its methods have to be coroutines that may wait for the end of a move.
    """

    def __init__(self, store: StoreInForce[P], part: Callable[[P], object]) -> None:
        self._store = store
        self._part = part
        self._made: tuple[P, object] | None = None

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        """Return the method."""

        async def call(*args: Any, **named: Any) -> Any:
            return await self._store.run(
                lambda found: getattr(self._of(found), name)(*args, **named)
            )

        return call

    def _of(self, parts: P) -> object:
        if self._made is None or self._made[0] is not parts:
            self._made = (parts, self._part(parts))
        return self._made[1]
