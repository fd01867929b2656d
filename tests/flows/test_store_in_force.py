"""StoreInForce: what takes rights away waits for the end of a move, and is made once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from authz.core import changes
from authz.core.changes import Author, KeyChange
from authz.core.errors import Fault, Frozen, Unavailable
from authz.core.records import RevocationReason
from authz.flows.store_in_force import (
    PATIENCE,
    BatchesInForce,
    KeysInForce,
    MoveState,
    PartInForce,
    StoreInForce,
)
from tests.support.fakes import FakeClock, make_record

AUTHOR = Author("1" * 32, "tests")
REFUSED = Frozen("moving")


def removal(name: str = "a") -> KeyChange:
    """Return a revocation."""
    found = changes.revoke(make_record(name=name), RevocationReason.UNSPECIFIED, AUTHOR, 5)
    assert isinstance(found, KeyChange)
    assert found.narrows
    return found


def grant() -> KeyChange:
    """Return a change that gives rights."""
    found = changes.update(make_record(), {"name": "new"}, AUTHOR, 5)
    assert isinstance(found, KeyChange)
    assert not found.narrows
    return found


@dataclass
class Parts:
    """The parts of a store. faults: raised by the next calls, one by one."""

    faults: list[Fault] = field(default_factory=list)
    applied: list[KeyChange] = field(default_factory=list)
    refused: int = 0  # changes of each batch, the last ones

    async def find(self, _kid: str) -> None:
        """Find nothing."""
        self._fail()

    async def apply(self, change: KeyChange) -> int:
        """Apply a change."""
        self._fail()
        self.applied.append(change)
        return len(self.applied)

    async def replicas(self, _change: KeyChange, _version: int) -> int:
        """Return how many changes this store has."""
        return len(self.applied)

    async def apply_all(self, given: Sequence[KeyChange]) -> list[int | Fault]:
        """Apply changes; the last ones are refused."""
        self._fail()
        good = given[: len(given) - self.refused]
        self.applied += good
        return [*range(1, len(good) + 1), *[REFUSED] * (len(given) - len(good))]

    def _fail(self) -> None:
        if self.faults:
            raise self.faults.pop(0)


class Rig:
    """A store, and its move. states: those that the next looks see; the last one stays."""

    def __init__(self, *states: MoveState | Exception, faults: Sequence[Fault] = ()) -> None:
        self.states = list(states)
        self.clock = FakeClock()
        self.old, self.new = Parts(list(faults)), Parts()
        self.pauses = 0
        self.store = StoreInForce(self.old, self, self.clock, self.sleep)
        self.keys = KeysInForce(self.store, lambda parts: parts)
        self.batches = BatchesInForce(self.store, lambda parts: parts)

    async def state(self) -> MoveState:
        """Return the next state."""
        found = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if isinstance(found, Exception):
            raise found
        return found

    async def parts(self) -> Parts:
        """Return the parts after the move."""
        return self.new

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.pauses += 1
        self.clock.advance(seconds)


async def test_a_removal_waits_until_the_store_takes_changes_again() -> None:
    """If the move is given up, the same change is made in the old store."""
    for after in (MoveState.OPEN, MoveState.NONE):
        rig = Rig(MoveState.FROZEN, MoveState.FROZEN, after, faults=[REFUSED] * 3)
        change = removal()
        assert await rig.keys.apply(change) == 1
        assert (rig.old.applied, rig.new.applied, rig.pauses) == ([change], [], 2)


async def test_a_removal_follows_the_store() -> None:
    """After the move the same change is made in the partitions, and read from there."""
    rig = Rig(MoveState.FROZEN, MoveState.DONE, faults=[REFUSED] * 2)
    change = removal()
    assert await rig.keys.apply(change) == 1
    assert (rig.old.applied, rig.new.applied) == ([], [change])
    assert await rig.keys.replicas(change, 1) == 1


async def test_other_changes_are_refused_at_once() -> None:
    """A change that gives rights does not wait, and is never made in the partitions."""
    rig = Rig(MoveState.FROZEN, faults=[REFUSED] * 2)
    with pytest.raises(Frozen):
        await rig.keys.apply(grant())
    with pytest.raises(Frozen):
        await rig.batches.apply_all([removal(), grant()])
    rig = Rig(MoveState.DONE, faults=[REFUSED] * 2)
    await rig.keys.apply(removal())
    with pytest.raises(Frozen):
        await rig.keys.apply(grant())
    assert len(rig.new.applied) == 1
    assert rig.pauses == 0


async def test_a_store_that_is_not_moved_fails_at_once() -> None:
    """A value of a wrong type is damage, if no move is announced; or a second look shows it."""
    rig = Rig(MoveState.NONE, faults=[REFUSED])
    with pytest.raises(Frozen):
        await rig.keys.apply(removal())
    rig = Rig(MoveState.OPEN, faults=[REFUSED] * 2)
    with pytest.raises(Frozen):
        await rig.keys.apply(removal())
    assert rig.pauses == 0


async def test_the_wait_ends() -> None:
    """A store that stays frozen gives its answer in the end, and the log tells of the wait."""
    rig = Rig(MoveState.FROZEN, faults=[REFUSED] * 10_000)
    with pytest.raises(Frozen, match="moving"):
        await rig.keys.apply(removal())
    assert PATIENCE <= rig.clock.monotonic() - FakeClock().monotonic() < PATIENCE + 1


async def test_other_faults_are_not_repeated() -> None:
    """A lost reply and an unreachable store are for the caller."""
    rig = Rig(MoveState.FROZEN, faults=[Unavailable("away")])
    with pytest.raises(Unavailable, match="away"):
        await rig.keys.apply(removal())
    rig = Rig(Unavailable("away"), faults=[REFUSED])
    with pytest.raises(Frozen):
        await rig.keys.apply(removal())
    assert rig.pauses == 0


async def test_a_failover_does_not_end_the_wait() -> None:
    """If the store cannot be asked for a moment, the change goes on waiting."""
    rig = Rig(MoveState.FROZEN, Unavailable("away"), MoveState.DONE, faults=[REFUSED] * 3)
    assert await rig.keys.apply(removal()) == 1
    assert len(rig.new.applied) == 1


async def test_a_batch_that_the_freeze_met_in_its_middle() -> None:
    """The changes that were made are not sent again, and the others follow."""
    rig = Rig(MoveState.FROZEN, MoveState.DONE)
    rig.old.refused = 2
    given = [removal(name) for name in "abc"]
    rig.old.faults = []
    found = await rig.batches.apply_all(given)
    assert found[0] == 1
    assert not any(isinstance(one, Fault) for one in found)
    assert [*rig.old.applied, *rig.new.applied][0] is given[0]
    assert len(rig.old.applied) + len(rig.new.applied) == len(given)


async def test_a_batch_after_the_wait() -> None:
    """A change that was made is reported as made. If none was, the batch fails as a whole."""
    rig = Rig(MoveState.FROZEN)
    rig.old.refused = 1
    found = await rig.batches.apply_all([removal("a"), removal("b")])
    assert (found[0], isinstance(found[1], Frozen)) == (1, True)
    rig = Rig(MoveState.FROZEN, faults=[REFUSED] * 10_000)
    with pytest.raises(Frozen):
        await rig.batches.apply_all([removal()])


async def test_any_part() -> None:
    """A part that stands beside a removal waits and follows, too."""
    rig = Rig(MoveState.FROZEN, MoveState.DONE, faults=[REFUSED] * 2)
    made: list[Any] = []

    def make(parts: Parts) -> Parts:
        made.append(parts)
        return parts

    part: Any = PartInForce(rig.store, make)
    await part.apply(removal())
    await part.find("k")
    assert made == [rig.old, rig.new]
    assert len(rig.new.applied) == 1
