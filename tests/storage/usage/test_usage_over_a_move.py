"""Usage that is read while a move removes the data of the time with one partition."""

import pytest

from authz.core.errors import Foreign
from authz.storage.schema import DEFAULT
from authz.storage.usage.closed_hours import StoredClosedHours
from authz.storage.usage.many_keys import StoredUsageIndex

KID = "7Hk2mQ9xT4bVzR1c"


@pytest.fixture
async def client(valkey):
    """A client of a store with one partition, which has 8 partitions since."""
    valkey.admin.hset(DEFAULT.meta, mapping={"schema": "1", "partitions": "8", "complete": "1"})
    made = valkey.endpoint.client()
    yield made
    await made.aclose()


async def test_hours_of_a_store_that_was_moved(client):
    """Hours that are missing because they were removed do not look like hours without requests."""
    with pytest.raises(Foreign, match="number of partitions is 8"):
        await StoredClosedHours(client).read([KID], range(10, 20))


async def test_keys_of_a_store_that_was_moved(client):
    """A list of used keys that ends because they were removed is not a complete one."""
    with pytest.raises(Foreign, match="number of partitions is 8"):
        assert [page async for page in StoredUsageIndex(client).used_since(0)]


async def test_latest_use_in_a_store_that_was_moved(client, valkey):
    """A key in use whose time was removed does not look unused. A time that is there is read."""
    index = StoredUsageIndex(client)
    valkey.admin.zadd(f"{DEFAULT.usage}last", {KID: 1_700_000_000})
    assert await index.latest([KID]) == [1_700_000_000]
    valkey.admin.delete(f"{DEFAULT.usage}last")
    with pytest.raises(Foreign, match="number of partitions is 8"):
        await index.latest([KID])
