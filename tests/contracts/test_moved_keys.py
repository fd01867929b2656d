"""The MovedKeys port: one suite for a twin in memory and the store."""

import pytest

from authz.core.errors import Unavailable, Unreadable
from authz.core.partitions import Partitions
from authz.storage.moved import StoredMoved
from tests.support.core.places import MemoryMoved
from tests.support.storage.partitioned import COUNT, parts_of

KIDS = [kid for kid in (f"{n:016}" for n in range(400)) if Partitions(COUNT).of(kid) == 3]


class Spoiling:
    """The MovedKeys of partition 3 of 8, and a way to write any entry."""

    def __init__(self, moved, spoil) -> None:
        self.moved, self.spoil = moved, spoil


@pytest.fixture(params=["memory", "valkey"])
async def rig(request):
    """The MovedKeys of partition 3, of each kind."""
    if request.param == "memory":
        moved = MemoryMoved(3, COUNT)

        async def spoil(kid, text):
            moved.entries[kid] = int(text) if text.isdecimal() and text.isascii() else -1

        yield Spoiling(moved, spoil)
        return
    async with parts_of(request.getfixturevalue("valkey")) as parts:
        moved = StoredMoved(parts.clients[3])

        async def spoil(kid, text):
            await moved.save({kid: 0})
            name = parts.stores[3]._names.moved
            (field,) = await parts.clients[3].hkeys(name)
            await parts.clients[3].hset(name, field, text)

        yield Spoiling(moved, spoil)


async def test_a_key_without_an_entry_is_not_moved(rig):
    """No key is moved at first; nothing is found for nothing."""
    assert await rig.moved.find(KIDS[:3]) == [None] * 3
    assert await rig.moved.find([]) == []


async def test_entries_are_found_in_order(rig):
    """Each kid gets its partition or None, in the order of the question; others stay."""
    await rig.moved.save({KIDS[0]: 0, KIDS[1]: 7})
    await rig.moved.save({KIDS[2]: 5})
    assert await rig.moved.find([KIDS[2], KIDS[9], KIDS[0], KIDS[1]]) == [5, None, 0, 7]


@pytest.mark.parametrize("text", ["3", "8", "99", "100", "-1", "", "a", "1.0", " 1", "\u0661"])
async def test_a_spoiled_entry_is_refused(rig, text):
    """A number out of range, that of the partition itself, or other text is never an answer."""
    await rig.spoil(KIDS[0], text)
    with pytest.raises(Unreadable):
        await rig.moved.find([KIDS[0]])
    assert await rig.moved.find([KIDS[1]]) == [None]


async def test_all_entries_are_listed_in_pages(valkey):
    """Each entry is in one of the pages, with the kid that was saved."""
    async with parts_of(valkey) as parts:
        moved = StoredMoved(parts.clients[3])
        assert [page async for page in moved.all()] == []
        wanted = {f"{n:016}": n % 3 for n in range(2500)}
        await moved.save(wanted)
        found = {}
        async for page in moved.all():
            found |= page
        assert found == wanted


async def test_a_value_of_another_type_is_unavailable(valkey):
    """A string in place of the hash is a fault, not the absence of an entry."""
    async with parts_of(valkey) as parts:
        await parts.clients[3].set(parts.stores[3]._names.moved, "x")
        with pytest.raises(Unavailable, match="damaged"):
            await StoredMoved(parts.clients[3]).find([KIDS[0]])
