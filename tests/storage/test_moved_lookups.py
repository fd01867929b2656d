"""LinkedKeys and moved keys: a partition says where the record of a kid lies that it does not have.

The entry of a moved key is right at any time. Its absence counts as the absence of a record does.
"""

from dataclasses import replace

import pytest

from authz.core.errors import Elsewhere, Unavailable, Unreadable
from authz.core.events import Event
from authz.core.keys.text import new_kid
from authz.core.partitions import Partitions
from authz.storage import schema
from authz.storage.index_members import short_member
from authz.storage.moved import StoredMoved
from tests.support.real import eventually
from tests.support.storage.sidecar import Sidecar, administration

AT, COUNT = 3, 8
KIDS = [kid for kid in (new_kid() for _ in range(400)) if Partitions(COUNT).of(kid) == AT]
CLIENTS = [f"client-{number}" for number in range(400)]
CLIENT = next(one for one in CLIENTS if Partitions(COUNT).home(one) == AT)
STRANGER = next(one for one in CLIENTS if Partitions(COUNT).home(one) != AT)
FOREIGN = next(kid for kid in iter(new_kid, "") if Partitions(COUNT).of(kid) != AT)


@pytest.fixture
async def where(valkey):
    """The endpoint of a partition that may have moved keys."""
    endpoint = replace(valkey.endpoint, count=COUNT).partitions()[AT]
    async with administration(endpoint), endpoint.client() as client:
        fields = {schema.META_MOVED: "1", schema.META_SCHEMA: str(schema.SCHEMA_MOVED)}
        await client.hset(endpoint.names.meta, mapping=fields)
        await StoredMoved(client).save({KIDS[0]: 5, KIDS[1]: 0, FOREIGN: 1})
    return endpoint


def spoil(valkey, where, kid, text):
    """Write any text as the entry of a key."""
    valkey.admin.hset(where.names.moved, short_member(kid).encode(errors="surrogateescape"), text)


async def test_the_partition_of_a_moved_key_is_named(where):
    """The fault has the number, each time: it is no absence, and nothing is cached."""
    async with Sidecar(where) as sidecar:
        for kid, at in ((KIDS[0], 5), (KIDS[1], 0), (KIDS[0], 5)):
            with pytest.raises(Elsewhere) as found:
                await sidecar.find(kid)
            assert found.value.partition == at
        assert sidecar.probe.events[Event.RECORD_UNREADABLE] == 0


async def test_a_key_without_an_entry_is_absent(where):
    """A key without a record and an entry is None, and its absence is cached."""
    async with Sidecar(where) as sidecar:
        assert await sidecar.find(KIDS[2]) is None
        assert await sidecar.find(KIDS[2]) is None
        assert sidecar.probe.events[Event.CACHE_MISS] == 1


async def test_a_record_comes_before_an_entry(where):
    """A record in the partition is found there, without a look at the entries."""
    async with administration(where) as admin, Sidecar(where) as sidecar:
        record = await admin.issue(client_id=CLIENT)
        assert await sidecar.find(record.kid) == record


async def test_a_record_away_from_its_home(where):
    """A record of an owner whose home is elsewhere is Unreadable here, and counted."""
    async with administration(where) as admin, Sidecar(where) as sidecar:
        record = await admin.issue(client_id=STRANGER)
        home = Partitions(COUNT).home(STRANGER)
        with pytest.raises(Unreadable, match=f"partition 3, and the home of its owner is {home}"):
            await sidecar.find(record.kid)
        assert sidecar.probe.events[Event.RECORD_UNREADABLE] == 1


@pytest.mark.parametrize("text", ["3", "8", "x", "", "-1", "5 "])
async def test_a_spoiled_entry_is_unreadable(valkey, where, text):
    """Such an entry is neither an absence nor a partition. It is counted."""
    spoil(valkey, where, KIDS[0], text)
    async with Sidecar(where) as sidecar:
        await sidecar.trusted()
        with pytest.raises(Unreadable, match="garbled"):
            await sidecar.cache.find(KIDS[0])
        assert sidecar.probe.events[Event.RECORD_UNREADABLE] == 1


async def test_entries_of_another_type_are_unavailable(valkey, where):
    """A string in place of the hash is never an absence."""
    valkey.admin.set(where.names.moved, "x")
    async with Sidecar(where) as sidecar:
        await sidecar.trusted()
        with pytest.raises(Unavailable, match="WRONGTYPE"):
            await sidecar.cache.find(KIDS[0])


async def test_an_entry_counts_only_where_the_kid_leads(where):
    """An entry about a kid of another partition is not looked at: no two can name each other."""
    async with Sidecar(where) as sidecar:
        assert await sidecar.find(FOREIGN) is None


async def test_without_the_mark_no_entry_is_read(valkey, where):
    """A store that has no moved keys by its authz:meta pays for none."""
    fields = {schema.META_SCHEMA: str(schema.SCHEMA)}
    valkey.admin.hdel(where.names.meta, schema.META_MOVED)
    valkey.admin.hset(where.names.meta, mapping=fields)
    valkey.admin.config_resetstat()
    async with Sidecar(where) as sidecar:
        assert await sidecar.find(KIDS[0]) is None
        assert await sidecar.find(KIDS[2]) is None
    assert "cmdstat_hget" not in valkey.admin.info("commandstats")


async def test_no_entry_of_an_emptied_store_is_an_absence(valkey, where):
    """Right after the store was emptied a moved key is unavailable, not unknown."""
    async with Sidecar(where, lease=60) as sidecar:
        await sidecar.trusted()
        valkey.admin.flushall()
        for kid in (KIDS[0], KIDS[2]):
            with pytest.raises(Unavailable, match="authz init"):
                await sidecar.cache.find(kid)


async def test_the_link_ends_during_a_look(where):
    """A lost link is unavailable, and each load is answered once."""
    delivered = []
    async with Sidecar(where, lease=60) as sidecar:
        await sidecar.trusted()
        for kid in KIDS[:3]:
            sidecar.source.load(kid, delivered.append)
        sidecar.feed.link.abort("the test ends it")
        await eventually(lambda: len(delivered) == 3)
    assert all(isinstance(one, Unavailable) for one in delivered)


async def test_a_mutant_that_ignores_entries_is_found(where, monkeypatch):
    """A source that reads no entries fails the test of their partitions: it finds no key."""
    monkeypatch.setattr("authz.storage.linked_keys.leads_here", lambda *_: False)
    with pytest.raises(pytest.fail.Exception):
        await test_the_partition_of_a_moved_key_is_named(where)


async def test_a_mutant_that_takes_records_anywhere_is_found(where, monkeypatch):
    """A source that does not ask for the home of a record fails the test of such a record."""
    monkeypatch.setattr("authz.storage.linked_keys.refuse_stray", lambda *_: None)
    with pytest.raises(pytest.fail.Exception):
        await test_a_record_away_from_its_home(where)
