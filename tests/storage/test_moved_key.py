"""A key that gets another client moves from one index to the other, whatever fails."""

import pytest

from authz.core.errors import Unavailable
from authz.core.selector import Selector
from authz.flows.selection import Selection
from authz.storage.keys import StoredKeys
from authz.storage.listing import StoredIndex
from tests.support.fakes import FakeClock
from tests.support.storage import stored
from tests.support.storage.changing import failing, moved

# What a change that moves a key writes, in order.
WRITES = ["SET", "XADD log", "HSET", "ZADD all", "ZADD client", "ZREM", "XADD audit", "PUBLISH"]


def members(valkey, client_id):
    """Return the kids in a client's index."""
    return valkey.admin.zrange(stored.client(client_id), 0, -1)


async def shown(client, client_id):
    """Return the kids that a listing shows for a client."""
    found = Selection(StoredIndex(client), FakeClock())
    page = await found.page(Selector(client_id=client_id), 10)
    return [entry.kid for entry in page.entries]


async def test_it_moves(valkey, admin):
    """A moved key is in the new client's index, sorted by its age, and no longer in the old one."""
    record, other = await admin.issue(), await admin.issue()
    assert await admin.store.apply(moved(record)) == 3

    assert members(valkey, "acme-web") == [other.kid]
    assert members(valkey, "acme-batch") == [record.kid]
    assert valkey.admin.zscore(stored.client("acme-batch"), record.kid) == record.created_at
    assert set(valkey.admin.zrange(stored.KEYS, 0, -1)) == {record.kid, other.kid}
    assert (await admin.store.find(record.kid)).client_id == "acme-batch"


async def test_there_and_back(valkey, admin):
    """A key can move back, and a late repetition of the first move is refused."""
    record = await admin.issue()
    first = moved(record)
    await admin.store.apply(first)
    await admin.store.apply(first)
    there = await admin.store.find(record.kid)
    await admin.store.apply(moved(there, "acme-web", "c-back"))
    assert members(valkey, "acme-web") == [record.kid]
    assert members(valkey, "acme-batch") == []


async def test_list_of_the_wrong_type(valkey, admin):
    """An index of another Redis type is named and nothing is written."""
    record = await admin.issue()
    valkey.admin.delete(stored.client("acme-web"))
    valkey.admin.set(stored.client("acme-web"), "text")
    with pytest.raises(Unavailable, match="WRONGTYPE"):
        await admin.store.apply(moved(record))
    assert await admin.store.find(record.kid) == record


async def test_permission_to_leave(valkey, admin):
    """Without the right to remove the key from the old index nothing is written."""
    record = await admin.issue()
    valkey.admin.execute_command(
        "ACL", "SETUSER", "ops", "reset", "on", ">pw", "~authz:*", "&*", "+@all", "-zrem"
    )
    client = valkey.login("ops", "pw").client()
    with pytest.raises(Unavailable, match=r"(?i)zrem"):
        await StoredKeys(client).apply(moved(record))
    await client.aclose()
    assert await admin.store.find(record.kid) == record


@pytest.mark.parametrize("nth", range(1, len(WRITES) + 1), ids=WRITES)
async def test_a_move_that_fails_half_way(valkey, admin, nth):
    """After a move that ended early no listing shows another client's key; repeated, it is
    complete.
    """
    record = await admin.issue()
    change = moved(record)
    async with failing(valkey, nth) as broken, valkey.endpoint.client() as client:
        with pytest.raises(Unavailable, match="injected"):
            await broken.apply(change)

        owner = (await admin.store.find(record.kid)).client_id
        other = ({"acme-web", "acme-batch"} - {owner}).pop()
        assert await shown(client, other) == []
        on_its_list = owner == "acme-web" or nth > WRITES.index("ZADD client") + 1
        assert await shown(client, owner) == ([record.kid] if on_its_list else [])

        version = await admin.store.apply(change)
        assert await shown(client, "acme-batch") == members(valkey, "acme-batch") == [record.kid]
        assert members(valkey, "acme-web") == []
        assert (await admin.store.find(record.kid)).version == version
