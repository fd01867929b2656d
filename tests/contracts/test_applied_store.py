"""The AppliedStore port: one suite for a twin in memory, the store, and several partitions."""

import pytest

from authz.core.errors import Unreadable
from authz.core.merging import Applied, fields_of
from authz.storage.applied import StoredApplied
from authz.storage.schema import DEFAULT
from tests.support.fakes import KID, make_record
from tests.support.flows.applying import MemoryApplied
from tests.support.storage.partitioned import parts_of

OTHER_KID = "0" * 16
INFINITE = '{"version": Infinity, "fields": {}, "ref": ""}'


@pytest.fixture(params=["memory", "valkey", "partitions"])
async def store(request):
    """An empty AppliedStore of each kind."""
    if request.param == "memory":
        yield MemoryApplied()
        return
    if request.param == "partitions":
        async with parts_of(request.getfixturevalue("valkey")) as parts:
            yield parts.applied
        return
    async with request.getfixturevalue("valkey").endpoint.client() as client:
        yield StoredApplied(client)


async def test_fields_are_found_as_they_were_saved(store):
    """Saved fields are found by kid; saving some leaves the others; saving none is nothing."""
    assert await store.load() == {}
    first = Applied(3, fields_of(make_record(metadata={"team": "web"})), "acme.shop")
    second = Applied(4, fields_of(make_record(expires_at=5)))
    await store.save({KID: first})
    await store.save({OTHER_KID: second})
    await store.save({})
    assert await store.load() == {KID: first, OTHER_KID: second}


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": "x", "fields": {}, "ref": ""}', INFINITE]
)
async def test_garbled_fields_are_named(valkey, text):
    """Garbled fields are named with their kid."""
    valkey.admin.hset(DEFAULT.applied, KID, text)
    async with valkey.endpoint.client() as client:
        with pytest.raises(Unreadable, match=KID):
            await StoredApplied(client).load()
