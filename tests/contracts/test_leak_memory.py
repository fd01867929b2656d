"""The bound on keys that reports and rules may end in an hour, in the store."""

import asyncio

import pytest

from authz.core.leaks import HOUR_MS
from authz.storage import schema
from authz.storage.leak_memory import StoredLeakMemory


@pytest.fixture
async def client(valkey):
    """A client of an empty store."""
    async with valkey.endpoint.client() as found:
        yield found


def _now(valkey):
    seconds, micros = valkey.admin.time()
    return seconds * 1000 + micros // 1000


async def test_a_key_takes_one_place(client):
    """A key that was ended before may be ended again, and takes no further place."""
    memory = StoredLeakMemory(client)
    assert await memory.take_places(["a", "b", "a"], HOUR_MS, 3) == {"a", "b"}
    assert await memory.take_places(["b", "c", "d"], HOUR_MS, 3) == {"b", "c"}
    assert await memory.take_places([], HOUR_MS, 3) == frozenset()


async def test_places_are_free_after_an_hour(valkey, client):
    """Old entries and garbled ones are removed. New ones have the time of the store, in ms."""
    names, now = schema.DEFAULT, _now(valkey)
    entries = {"old": now - HOUR_MS - 1, "bad": "x", "new": now - HOUR_MS + 60_000}
    valkey.admin.hset(names.leaked, mapping=entries)
    assert await StoredLeakMemory(client).take_places(["a", "b"], HOUR_MS, 2) == {"a"}
    found = valkey.admin.hgetall(names.leaked)
    assert found == {"new": str(entries["new"]), "a": found["a"]}
    assert now <= int(found["a"]) <= _now(valkey)


@pytest.mark.parametrize("ahead", [1000 * HOUR_MS, 2 * HOUR_MS, 60_000])
async def test_a_clock_that_was_ahead(valkey, client, ahead):
    """Keys with an end ahead of the store's clock hold their places for an hour from now."""
    names, now = schema.DEFAULT, _now(valkey)
    valkey.admin.hset(names.leaked, mapping={"a": now + ahead, "b": now + ahead})
    assert await StoredLeakMemory(client).take_places(["c"], HOUR_MS, 2) == frozenset()
    found = valkey.admin.hgetall(names.leaked)
    assert sorted(found) == ["a", "b"]
    assert all(now <= int(at) <= _now(valkey) for at in found.values())


async def test_two_processes_share_the_bound(valkey):
    """Two processes that ask at the same time end no more keys than one: the bound is one step."""
    async with valkey.endpoint.client() as one, valkey.endpoint.client() as other:
        asked = (
            StoredLeakMemory(client).take_places([f"{name}{i}" for i in range(5)], HOUR_MS, 5)
            for name, client in (("a", one), ("b", other))
        )
        found = await asyncio.gather(*asked)
    assert sorted(map(len, found)) == [0, 5]


async def test_two_bounds(client):
    """Rotations have a bound of their own."""
    rotated = StoredLeakMemory(client, schema.DEFAULT.rotated)
    assert await StoredLeakMemory(client).take_places(["a"], HOUR_MS, 1) == {"a"}
    assert await rotated.take_places(["b"], HOUR_MS, 1) == {"b"}
