"""The RequestStore port: one suite for the twin in memory and for the store on a real server."""

import asyncio

import pytest

from authz.storage import schema
from authz.storage.requests import StoredRequests
from tests.support.fakes import MemoryRequestStore

NAME, OTHER = "a" * 64, "b" * 64


@pytest.fixture(params=["memory", "valkey"])
async def store(request):
    """An empty RequestStore of each kind."""
    if request.param == "memory":
        yield MemoryRequestStore()
        return
    async with request.getfixturevalue("valkey").endpoint.client() as client:
        yield StoredRequests(client)


async def test_the_first_entry_stays(store):
    """The first call stores its entry, and later calls get it."""
    assert await store.remember(NAME, "one", 60_000) is None
    assert await store.remember(NAME, "two", 60_000) == "one"
    assert await store.remember(OTHER, "two", 60_000) is None
    assert await store.remember(NAME, "three", 60_000) == "one"


async def test_one_of_many_is_first(store):
    """Of calls at the same time one stores its entry, and the others get that entry."""
    found = await asyncio.gather(*(store.remember(NAME, str(n), 60_000) for n in range(20)))
    assert found.count(None) == 1
    assert set(found) - {None} == {str(found.index(None))}


async def test_an_entry_has_an_end(valkey):
    """The server removes an entry after the given time."""
    async with valkey.endpoint.client() as client:
        await StoredRequests(client).remember(NAME, "one", 60_000)
        assert 0 < await client.pttl(schema.DEFAULT.request(NAME)) <= 60_000
