"""The check of moved keys: each entry leads to a key, and each key has its entry."""

import pytest

from authz.core.finding import Level
from authz.core.partitions import Partitions
from authz.storage import schema, tombstones
from authz.storage.index_members import short_member
from authz.storage.inspection.moved import moved
from authz.storage.moved import StoredMoved
from tests.support.changes import issued
from tests.support.storage.inspection import make_store
from tests.support.storage.partitioned import CLIENT, COUNT, lead_home, parts_of

PARTITIONS = Partitions(COUNT)
HOME = PARTITIONS.home(CLIENT)
KIDS = [kid for kid in (f"{n:016}" for n in range(99)) if PARTITIONS.of(kid) != HOME]
MARK = {schema.META_MOVED: "1", schema.META_SCHEMA: str(schema.SCHEMA_MOVED)}


@pytest.fixture
async def parts(valkey):
    """The partitions of a store with two moved keys."""
    async with parts_of(valkey) as found:
        for client in found.clients:
            await client.hset(client.names.meta, mapping=MARK)
        await lead_home(found, KIDS[:2])
        for kid in KIDS[:2]:
            await found.keys.apply(issued(kid))
        yield found


async def look(parts):
    """Return the finding."""
    return await moved([make_store(client) for client in parts.clients])


def named(kid):
    """The partition that a kid leads to."""
    return PARTITIONS.of(kid)


async def test_entries_that_lead_to_their_keys(parts):
    """The finding counts them. A deleted key keeps its entry."""
    finding = await look(parts)
    assert (finding.level, finding.found) == (
        Level.OK,
        "2 entries of moved keys lead to their keys",
    )
    await parts.clients[HOME].delete(parts.clients[HOME].names.key(KIDS[0]))
    await parts.clients[HOME].zrem(parts.clients[HOME].names.keys, short_member(KIDS[0]), KIDS[0])
    gone = tombstones.of_kid(KIDS[0])
    await parts.clients[HOME].sadd(parts.clients[HOME].names.gone(gone.bucket), gone.member)
    assert (await look(parts)).level is Level.OK


async def test_a_store_without_moved_keys(parts):
    """A store that has no moved keys by its authz:meta has no finding."""
    for client in parts.clients:
        await client.hdel(client.names.meta, schema.META_MOVED)
    assert await look(parts) is None


async def test_an_entry_that_leads_nowhere(parts):
    """An entry about a key that its partition never had is a failure."""
    await StoredMoved(parts.clients[named(KIDS[3])]).save({KIDS[3]: HOME})
    finding = await look(parts)
    assert finding.level is Level.FAIL
    assert f"names partition {HOME}, which has no such key" in finding.found


async def test_a_copy_beside_an_entry(parts):
    """A record where the kid leads, beside an entry, is a failure that names the key."""
    at, home = parts.clients[named(KIDS[0])], parts.clients[HOME].names
    await at.copy(home.key(KIDS[0]), at.names.key(KIDS[0]))
    finding = await look(parts)
    assert finding.level is Level.FAIL
    assert f"it has a copy of the key {KIDS[0]}, which lies in partition {HOME}" in finding.found


async def test_an_entry_in_another_partition(parts):
    """An entry that nobody looks for is a failure, for it is not where its kid leads."""
    await StoredMoved(parts.clients[HOME]).save({KIDS[3]: (HOME + 1) % COUNT})
    finding = await look(parts)
    assert finding.level is Level.FAIL
    assert f"whose kid leads to partition {named(KIDS[3])}" in finding.found


@pytest.mark.parametrize("text", ["8", "x", ""])
async def test_a_spoiled_entry(parts, text):
    """A partition out of range, and text that is none, is a failure that names the key."""
    client = parts.clients[named(KIDS[0])]
    await client.hset(client.names.moved, short_member(KIDS[0]), text)
    finding = await look(parts)
    assert finding.level is Level.FAIL
    assert KIDS[0] in finding.found


async def test_a_key_without_its_entry(parts):
    """A moved key that no entry leads to gets 401, so it is a failure."""
    client = parts.clients[named(KIDS[1])]
    await client.hdel(client.names.moved, short_member(KIDS[1]))
    finding = await look(parts)
    assert finding.level is Level.FAIL
    assert f"partition {named(KIDS[1])} does not name it" in finding.found


async def test_entries_that_cannot_be_read(parts):
    """A store that refuses the read is a warning."""
    client = parts.clients[named(KIDS[0])]
    await client.set(client.names.moved, "x")
    assert (await look(parts)).level is Level.WARN
