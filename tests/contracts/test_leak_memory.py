"""The bound on keys that reports and rules may end in an hour, in the store."""

import asyncio

import pytest

from authz.storage import schema
from authz.storage.leak_memory import StoredLeakMemory

NOW, SINCE = 10_000_000, 6_400_000


@pytest.fixture
async def client(valkey):
    """A client of an empty store."""
    async with valkey.endpoint.client() as found:
        yield found


async def test_a_key_takes_one_place(client):
    """A key that was ended before may be ended again, and takes no further place."""
    memory = StoredLeakMemory(client)
    assert await memory.may_end(["a", "b", "a"], NOW, SINCE, 3) == {"a", "b"}
    assert await memory.may_end(["b", "c", "d"], NOW + 1, SINCE, 3) == {"b", "c"}
    assert await memory.may_end([], NOW, SINCE, 3) == frozenset()


async def test_places_are_free_after_an_hour(valkey, client):
    """Old entries and garbled ones are removed."""
    names = schema.DEFAULT
    valkey.admin.hset(names.leaked, mapping={"old": SINCE - 1, "bad": "x", "new": SINCE})
    assert await StoredLeakMemory(client).may_end(["a", "b"], NOW, SINCE, 2) == {"a"}
    assert valkey.admin.hgetall(names.leaked) == {"new": str(SINCE), "a": str(NOW)}


async def test_a_clock_that_was_ahead(valkey, client):
    """Keys that were ended by a clock years ahead hold their places for an hour, not for years."""
    hour, ahead = NOW - SINCE, 10 * NOW
    memory = StoredLeakMemory(client)
    assert await memory.may_end(["a", "b"], ahead, ahead - hour, 2) == {"a", "b"}
    assert await memory.may_end(["c"], NOW, SINCE, 2) == frozenset()
    assert await memory.may_end(["c"], NOW + hour, SINCE + hour, 2) == frozenset()
    assert await memory.may_end(["c"], NOW + hour + 1, SINCE + hour + 1, 2) == {"c"}


async def test_a_clock_that_is_a_little_behind(valkey, client):
    """The clocks of two processes differ: the later time of an ended key stays."""
    memory, behind = StoredLeakMemory(client), NOW - 1000
    assert await memory.may_end(["a"], NOW, SINCE, 1) == {"a"}
    assert await memory.may_end(["b"], behind, behind - (NOW - SINCE), 1) == frozenset()
    assert valkey.admin.hgetall(schema.DEFAULT.leaked) == {"a": str(NOW)}


async def test_two_processes_share_the_bound(valkey):
    """Two processes that ask at the same time end no more keys than one: the bound is one step."""
    async with valkey.endpoint.client() as one, valkey.endpoint.client() as other:
        asked = (
            StoredLeakMemory(client).may_end([f"{name}{i}" for i in range(5)], NOW, SINCE, 5)
            for name, client in (("a", one), ("b", other))
        )
        found = await asyncio.gather(*asked)
    assert sorted(map(len, found)) == [0, 5]


async def test_two_bounds(client):
    """Rotations have a bound of their own."""
    rotated = StoredLeakMemory(client, schema.DEFAULT.rotated)
    assert await StoredLeakMemory(client).may_end(["a"], NOW, SINCE, 1) == {"a"}
    assert await rotated.may_end(["b"], NOW, SINCE, 1) == {"b"}
