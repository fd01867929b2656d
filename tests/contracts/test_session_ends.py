"""The SessionEnds port: one suite for the twin in memory and for the store on a real server."""

import pytest
from redis import exceptions

from authz.core.errors import Unavailable
from authz.storage import schema
from authz.storage.session_ends import StoredSessionEnds
from tests.support.fakes import MemorySessionEnds
from tests.support.real import Valkey

NAME, OTHER = "a" * 64, "b" * 64
KEPT = 60_000


@pytest.fixture(params=["memory", "valkey"])
async def store(request):
    """An empty SessionEnds of each kind."""
    if request.param == "memory":
        yield MemorySessionEnds()
        return
    async with request.getfixturevalue("valkey").endpoint.client() as client:
        yield StoredSessionEnds(client)


async def test_an_end_is_remembered(store):
    """Each name has its own end, and a name that was never ended has none."""
    assert await store.ended([NAME, OTHER]) == [None, None]
    await store.end(NAME, 5_000, KEPT)
    assert await store.ended([OTHER, NAME]) == [None, 5_000]


async def test_a_later_end_stays(store):
    """An earlier end that arrives after a later one brings no session back."""
    await store.end(NAME, 9_000, KEPT)
    await store.end(NAME, 5_000, KEPT)
    assert await store.ended([NAME]) == [9_000]
    await store.end(NAME, 9_500, KEPT)
    assert await store.ended([NAME]) == [9_500]


async def test_an_end_has_a_time_to_live(valkey):
    """The server forgets an end after the given time."""
    async with valkey.endpoint.client() as client:
        await StoredSessionEnds(client).end(NAME, 5_000, KEPT)
        assert 0 < await client.pttl(schema.DEFAULT.ended(NAME)) <= KEPT


async def test_sessions_can_be_ended_on_a_full_store():
    """A store over its `maxmemory` still takes an end."""
    with Valkey("--maxmemory", "1mb", "--maxmemory-policy", "noeviction") as valkey:
        async with valkey.endpoint.client() as client:
            store = StoredSessionEnds(client)
            with pytest.raises(exceptions.OutOfMemoryError):
                await client.set("any", "1")
            await store.end(NAME, 5_000, KEPT)
            await store.end(OTHER, 6_000, KEPT)
            assert await store.ended([NAME, OTHER]) == [5_000, 6_000]


async def test_a_garbled_end(valkey):
    """An end that is no number is Unavailable: whether the session is over is unknown."""
    async with valkey.endpoint.client() as client:
        await client.set(schema.DEFAULT.ended(NAME), "soon")
        with pytest.raises(Unavailable, match="whole number"):
            await StoredSessionEnds(client).ended([NAME])
