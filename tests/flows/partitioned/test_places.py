"""Places: where a key lies of which only the kid is known."""

import pytest

from authz.core.errors import Unavailable, Unreadable
from authz.core.partitions import Partitions
from authz.flows.partitioned.places import Places
from tests.support.core.places import MemoryMoved, places_of

OF = Partitions(8).of
KIDS = [f"{n:016}" for n in range(40)]
MOVED = {kid: (OF(kid) + 3) % 8 for kid in KIDS[::2]}


async def test_a_moved_key_lies_elsewhere():
    """A moved key is found where its entry says, any other one where its kid leads."""
    places = places_of(8, MOVED)
    assert [await places.of(kid) for kid in KIDS] == [MOVED.get(kid, OF(kid)) for kid in KIDS]
    assert await places.of_all(KIDS) == [MOVED.get(kid, OF(kid)) for kid in KIDS]
    assert await places.of_all([]) == []


async def test_an_entry_is_remembered_and_an_absence_is_not():
    """A moved key is asked about once. A key without an entry may get one."""
    part = MemoryMoved(OF(KIDS[0]), 8, {KIDS[0]: MOVED[KIDS[0]]})
    places = Places(Partitions(8), [part] * 8)
    other = next(kid for kid in KIDS[1:] if OF(kid) == part.partition)
    for _ in range(2):
        assert await places.of(KIDS[0]) == MOVED[KIDS[0]]
        assert await places.of(other) == OF(other)
    assert part.asked == [KIDS[0], other, other]


async def test_a_store_without_moved_keys_is_not_asked():
    """Nothing is read from a store that has no moved keys."""
    places = places_of(8, MOVED, has_moved=False)
    assert await places.of_all(KIDS) == [OF(kid) for kid in KIDS]
    assert await places.of(KIDS[0]) == OF(KIDS[0])
    assert [await places.trails(kid) for kid in KIDS] == [[OF(kid)] for kid in KIDS]


async def test_older_rows_lie_in_the_first_partition():
    """With moved keys the trail of partition 0 may have rows about any key."""
    places = places_of(8, MOVED)
    for kid in KIDS:
        at = MOVED.get(kid, OF(kid))
        assert await places.trails(kid) == ([at, 0] if at else [0])


async def test_a_partition_that_cannot_be_asked_is_named():
    """The fault names the partition that the kid leads to. A spoiled entry is a fault, too."""

    class Down:
        async def find(self, kids):
            raise Unavailable("it is away")

    places = Places(Partitions(8), [Down()] * 8)
    with pytest.raises(Unavailable, match=f"partition {OF(KIDS[0])}: it is away"):
        await places.of(KIDS[0])
    spoiled = places_of(8, {KIDS[0]: 8})
    with pytest.raises(Unreadable):
        await spoiled.of(KIDS[0])


async def test_a_key_that_was_found_is_remembered():
    """A key that was found in a partition needs no entry any more."""
    places = places_of(8)
    places.note(KIDS[0], (OF(KIDS[0]) + 1) % 8)
    assert await places.of(KIDS[0]) == (OF(KIDS[0]) + 1) % 8
