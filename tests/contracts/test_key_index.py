"""The KeyIndex port: one suite for the twin in memory, the index, and several partitions."""

from dataclasses import replace

import pytest

from authz.core.selector import Position
from authz.storage.keys import StoredKeys
from authz.storage.listing import StoredIndex
from tests.support.changes import change_to, issued
from tests.support.fakes import NOW, MemoryKeyStore
from tests.support.flows.index import MemoryIndex
from tests.support.storage.partitioned import lead_home, parts_of

ABSENT = "z" * 16


def kid(number: int) -> str:
    """A kid."""
    return f"{number:016}"


@pytest.fixture(params=["memory", "valkey", "partitions"])
async def pair(request):
    """A KeyStore and a KeyIndex of the same keys, of each kind."""
    if request.param == "memory":
        store = MemoryKeyStore()
        yield store, MemoryIndex(store.records)
        return
    if request.param == "partitions":
        async with parts_of(request.getfixturevalue("valkey")) as parts:
            for number in range(7):
                await lead_home(parts, [kid(number)], project=f"p{number}")
            yield parts.keys, parts.index
        return
    async with request.getfixturevalue("valkey").endpoint.client() as client:
        yield StoredKeys(client), StoredIndex(client)


async def fill(store) -> list[Position]:
    """Issue seven keys, five of one moment; return their positions in order."""
    times = [NOW, NOW + 5, NOW + 5, NOW + 5, NOW + 5, NOW + 5, NOW + 9]
    for number, created_at in enumerate(times):
        change = issued(kid(number))
        record = replace(
            change.record, created_at=created_at, name=f"n{number}", project_id=f"p{number}"
        )
        await store.apply(replace(change, record=record))
    return [Position(at, kid(number)) for number, at in enumerate(times)]


async def test_order_and_places(pair):
    """Positions come in order, after any place, also one that is in no list."""
    store, index = pair
    places = await fill(store)
    client_id = (await store.find(kid(0))).client_id
    for whose in (None, client_id):
        assert await index.kids(whose, None, 3) == places[:3]
        for number, place in enumerate(places):
            assert await index.kids(whose, place, 3) == places[number + 1 : number + 4]
        assert await index.kids(whose, Position(NOW - 1, ABSENT), 2) == places[:2]
        assert await index.kids(whose, Position(NOW, ABSENT), 2) == places[1:3]
        assert await index.kids(whose, Position(NOW + 5, kid(3) + "0"), 9) == places[4:]
        assert await index.kids(whose, Position(NOW + 9, ABSENT), 2) == []
    assert await index.kids("nobody", places[0], 3) == []


async def test_the_other_way_round(pair):
    """Newest first, positions come in the opposite order, before any place."""
    store, index = pair
    places = await fill(store)
    back = places[::-1]
    client_id = (await store.find(kid(0))).client_id

    async def kids(whose, after, count):
        return await index.kids(whose, after, count, is_newest_first=True)

    for whose in (None, client_id):
        assert await kids(whose, None, 3) == back[:3]
        for number, place in enumerate(back):
            assert await kids(whose, place, 3) == back[number + 1 : number + 4]
        assert await kids(whose, Position(NOW - 1, ABSENT), 2) == []
        assert await kids(whose, Position(NOW, ABSENT), 2) == places[:1]
        assert await kids(whose, Position(NOW + 5, kid(3) + "0"), 9) == places[3::-1]
        assert await kids(whose, Position(NOW + 9, ABSENT), 2) == back[:2]
    assert await kids("nobody", places[0], 3) == []


async def test_a_moved_key_is_still_a_place(pair):
    """A list goes on after a key that has another client by now."""
    store, index = pair
    places = await fill(store)
    record = await store.find(kid(3))
    change = change_to(replace(record, client_id="somebody-else"), record.version)
    await store.apply(replace(change, former_client_id=record.client_id))
    assert await index.kids(record.client_id, places[3], 3) == places[4:]
    before = await index.kids(record.client_id, places[3], 3, is_newest_first=True)
    assert before == places[2::-1]


async def test_texts(pair):
    """The stored texts of fields come in order; None stands for a record that is not there."""
    store, index = pair
    await fill(store)
    found = await index.texts([kid(1), ABSENT, kid(0)], ["name", "status", "expires_at"])
    assert [tuple(row) for row in found] == [
        ("n1", "active", ""),
        (None, None, None),
        ("n0", "active", ""),
    ]
    assert await index.texts([], ["name"]) == []


async def test_read(pair):
    """Records come in the order of their kids, and None for one that is not there."""
    store, index = pair
    await fill(store)
    assert await index.read([kid(1), ABSENT]) == [await store.find(kid(1)), None]
