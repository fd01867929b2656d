"""Seals of changes: of one key and of many, when others change keys at the same moment, too."""

import asyncio
import contextlib
from dataclasses import replace

import redis

from authz.core.audit import Action
from authz.core.changes import planned
from authz.core.new_keys import KeySpec
from authz.core.records import Status
from authz.core.seals import Seal
from authz.storage.batches import StoredBatches
from authz.storage.keys import StoredKeys
from tests.support.fakes import make_keyring
from tests.support.storage import stored
from tests.support.storage.sealing import fields_of, numbers_sealed, sealed
from tests.support.storage.sidecar import administration

RING = make_keyring()


@contextlib.asynccontextmanager
async def world(valkey, keys=0):
    """A new store with sealed records: administration, a client's batches, and `keys` records.

    The scripts of revocations and of batches are loaded.
    """
    endpoint = sealed(valkey.endpoint)
    async with administration(endpoint, RING) as admin, endpoint.client() as client:
        batches = StoredBatches(client)
        await admin.revoke((await admin.issue()).kid)
        records = [await admin.issue() for _ in range(keys)]
        yield admin, batches, records


def renamed(admin, records, name="new"):
    """Return a change of each record."""
    author = admin.lifecycle.author
    return [planned(one, replace(one, name=name), Action.UPDATE, author("t"), 1) for one in records]


def assert_sealed(valkey, records, name="new"):
    """Assert that the records have the name, and a right seal."""
    for record in records:
        fields = fields_of(valkey, record.kid)
        assert fields["name"] == name
        assert RING.record_seals.check(record.kid, fields) is Seal.VALID


@contextlib.contextmanager
def seals_seen(valkey):
    """Yield a list that has at the end, for each change that is sent, its number of seals."""
    found = []
    with valkey.admin.monitor() as watch:
        yield found
        valkey.admin.execute_command("PING", "end")
        found += numbers_sealed(watch)


async def test_many_writers_at_once(valkey):
    """Nobody knows the number of its change before; each record gets the seal for its number."""
    async with world(valkey) as (admin, _, _):
        spec = KeySpec(client_id="acme", env="live", life_ms=None)

        async def work():
            async with sealed(valkey.endpoint).client() as client:
                flow = type(admin.lifecycle)(StoredKeys(client), RING, admin.lifecycle._clock)
                return [(await flow.issue(spec, flow.author("t"))).record.kid for _ in range(10)]

        made = await asyncio.gather(*(work() for _ in range(12)))
    for kid in (kid for kids in made for kid in kids):
        assert RING.record_seals.check(kid, fields_of(valkey, kid)) is Seal.VALID


async def test_batches_of_two_writers(valkey):
    """Two writers that apply many changes each at the same time seal all of them."""
    async with world(valkey, keys=120) as (admin, _, records):

        async def work(mine):
            async with sealed(valkey.endpoint).client() as client:
                return await StoredBatches(client).apply_all(renamed(admin, mine))

        outcomes = await asyncio.gather(work(records[::2]), work(records[1::2]))
        assert all(isinstance(one, int) for found in outcomes for one in found)
    assert_sealed(valkey, records)


async def test_change_whose_numbers_are_gone(valkey):
    """Changes between the question and the script make it start again, with other seals."""
    async with world(valkey, keys=1) as (admin, _, (record,)):
        valkey.admin.set(stored.SEQ, "5000")
        valkey.admin.xadd(stored.LOG, {"kid": "x"}, id="7000-0")  # the script counts from here
        changed = await admin.disable(record.kid)
        assert changed.version == 7001
        assert RING.record_seals.check(record.kid, fields_of(valkey, record.kid)) is Seal.VALID


async def test_the_store_sees_no_seal_for_a_later_number(valkey):
    """A change that nobody disturbs is sealed for its number alone, in a batch, too."""
    async with world(valkey, keys=25) as (admin, batches, records):
        with seals_seen(valkey) as seen:
            await admin.disable(records[0].kid)
            outcomes = await batches.apply_all(renamed(admin, records[1:]))
        assert seen == [1] * 25
    assert outcomes == list(range(29, 53))


async def test_more_seals_after_others_were_faster(valkey):
    """Only the second try has seals for 8 numbers."""
    async with world(valkey, keys=1) as (admin, _, (record,)):
        valkey.admin.xadd(stored.LOG, {"kid": "x"}, id="7-0")  # the script counts from here
        with seals_seen(valkey) as seen:
            assert (await admin.disable(record.kid)).version == 8
        assert seen == [1, 8]


async def test_a_change_between_two_batches(valkey):
    """The second batch has an older number. It is sealed again, each change for one number."""
    async with world(valkey, keys=4) as (admin, batches, (one, other, *last)):
        await batches.apply_all(renamed(admin, [one]))
        changed = await admin.disable(other.kid)
        with seals_seen(valkey) as seen:
            outcomes = await batches.apply_all(renamed(admin, last))
        assert sorted(outcomes) == [changed.version + 1, changed.version + 2]
        assert seen == [1] * 3  # the second change got its number at once
    assert_sealed(valkey, [one, *last])


async def test_a_refused_change_in_a_batch(valkey):
    """The changes behind it get lower numbers: they are sealed again, each for one number."""
    async with world(valkey, keys=3) as (admin, batches, (first, *last)):
        changed = await admin.disable(first.kid)
        with seals_seen(valkey) as seen:
            _, *outcomes = await batches.apply_all(renamed(admin, [first, *last]))
        assert outcomes == [changed.version + 1, changed.version + 2]
        assert seen == [1] * 5
    assert_sealed(valkey, last)


async def test_a_batch_after_a_repeated_one(valkey):
    """The numbers of changes that were made before are not taken for the store's last number."""
    async with world(valkey, keys=3) as (admin, batches, (one, other, third)):
        changes = renamed(admin, [one])
        first = await batches.apply_all(changes)
        await batches.apply_all(renamed(admin, [other]))
        assert await batches.apply_all(changes) == first
        with seals_seen(valkey) as seen:
            outcomes = await batches.apply_all(renamed(admin, [third]))
        assert outcomes == [first[0] + 2]
        assert seen == [1]
    assert_sealed(valkey, [one, other, third])


async def test_a_batch_after_the_store_went_back(valkey):
    """A batch that follows a lost change is sealed for the number that the store now gives."""
    async with world(valkey, keys=2) as (admin, batches, records):
        with redis.Redis(port=valkey.port) as raw:
            before = {name: raw.dump(name) for name in (stored.SEQ, stored.LOG, stored.AUDIT)}
        (version,) = await batches.apply_all(renamed(admin, records[:1]))
        for name, text in before.items():
            valkey.admin.restore(name, 0, text, replace=True)
        assert await batches.apply_all(renamed(admin, records[1:])) == [version]
    assert_sealed(valkey, records[1:])


async def test_bytes_that_are_no_text_stop_no_batch(valkey):
    """A record with such bytes in a field of a newer version is changed, and so are the others."""
    async with world(valkey, keys=3) as (admin, _, records):
        valkey.admin.hdel(stored.META, "sealed")
        valkey.admin.hdel(stored.key(records[1].kid), "seal")
        valkey.admin.hset(stored.key(records[1].kid), "new", b"\xff")
        async with sealed(valkey.endpoint).client() as client:
            found = [await StoredKeys(client).find(one.kid) for one in records]
            assert await StoredBatches(client).apply_all(renamed(admin, found)) == [6, 7, 8]
            after = await StoredKeys(client).find(records[1].kid)
    assert (after.name, after.unknown["new"], after.status) == ("new", "\udcff", Status.ACTIVE)
