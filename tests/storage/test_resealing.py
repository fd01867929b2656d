"""Resealing: a store of an earlier version is sealed while everything goes on."""

import asyncio
import contextlib

import pytest

from authz.core.errors import BadSeal, Conflict, NotFound, Unavailable, Unreadable
from authz.core.keys.keyring import Keyring
from authz.core.records import Status
from authz.core.seals import Seal
from authz.flows.lifecycle import Lifecycle
from authz.storage import resealing as module
from authz.storage.keys import StoredKeys
from authz.storage.listing import StoredTrail
from authz.storage.resealing import Resealing
from authz.storage.seals import seals_of
from tests.support.fakes import NOW, make_keyring, make_pepper
from tests.support.real import RealClock
from tests.support.storage import stored
from tests.support.storage.sealing import load, sealed, write_store_before_seals
from tests.support.storage.sidecar import Sidecar, administration

RING = make_keyring()


@contextlib.asynccontextmanager
async def resealing(endpoint, ring=RING):
    """Yield what `authz reseal` uses, and the key store."""
    async with sealed(endpoint, ring).client() as client:
        keys = StoredKeys(client)
        await keys.verify(ring.fingerprints)
        yield Resealing(client, seals_of(client)), keys


async def reseal(endpoint, ring=RING, **options):
    """Run `authz reseal` and return its result."""
    async with resealing(endpoint, ring) as (work, _):
        return await work.run(**options)


def results(valkey, ring=RING):
    """Return the result of checking each record in the store."""
    names = valkey.admin.keys(stored.key("*"))
    return {
        ring.record_seals.check(name.rpartition(":")[2], valkey.admin.hgetall(name))
        for name in names
    }


async def test_a_store_of_an_earlier_version(valkey):
    """Its keys work before, while and after it is sealed, and then need their seals."""
    ring, kids = write_store_before_seals(valkey.admin)
    async with Sidecar(sealed(valkey.endpoint, ring), keyring=ring) as sidecar:
        await sidecar.trusted()
        before = [await load(sidecar, kid) for kid in kids]
        assert {record.status for record in before} == set(Status) - {Status.CANARY}
        assert results(valkey, ring) == {Seal.ABSENT}
        assert not (await reseal(valkey.endpoint, ring, dry_run=True)).marked
        assert results(valkey, ring) == {Seal.ABSENT}
        found = await reseal(valkey.endpoint, ring)
        assert (found.looked_at, found.sealed, found.refused, found.marked) == (7, 7, {}, True)
        assert results(valkey, ring) == {Seal.VALID}
    async with Sidecar(sealed(valkey.endpoint, ring), keyring=ring) as sidecar:
        await sidecar.trusted()
        assert sidecar.feed.meta.is_sealed
        assert [await load(sidecar, kid) for kid in kids] == before
        valkey.admin.hdel(stored.key(kids[0]), "seal")
        assert isinstance(await load(sidecar, kids[0]), BadSeal)


async def test_a_change_seals_a_record_of_an_earlier_version(valkey):
    """A change before `authz reseal` seals the one record, and the others stay good."""
    ring, kids = write_store_before_seals(valkey.admin)
    async with sealed(valkey.endpoint, ring).client() as client:
        keys = StoredKeys(client)
        await keys.verify(ring.fingerprints)
        flow = Lifecycle(keys, ring, RealClock())
        await flow.update(kids[0], {"name": "other"}, flow.author("test"))
        assert (await keys.find(kids[1])).kid == kids[1]
    assert results(valkey, ring) == {Seal.VALID, Seal.ABSENT}


async def test_a_second_run_changes_nothing(valkey):
    """A sealed store stays as it is: versions, change ids and seals."""
    async with administration(valkey.endpoint) as old:
        kids = [(await old.issue()).kid for _ in range(3)]
    await reseal(valkey.endpoint)
    before = [valkey.admin.hgetall(stored.key(kid)) for kid in kids]
    again = await reseal(valkey.endpoint)
    assert (again.looked_at, again.sealed) == (3, 0)
    assert [valkey.admin.hgetall(stored.key(kid)) for kid in kids] == before


async def test_an_interrupted_run_goes_on(valkey, monkeypatch):
    """A run that ends half way leaves the store unmarked; the next one seals the rest."""
    monkeypatch.setattr(module, "PAGE", 4)
    async with administration(valkey.endpoint) as old:
        for _ in range(10):
            await old.issue()

    def stop(found):
        if found.looked_at == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await reseal(valkey.endpoint, progress=stop)
    assert results(valkey) == {Seal.VALID, Seal.ABSENT}
    assert valkey.admin.hget(stored.META, "sealed") is None
    found = await reseal(valkey.endpoint)
    assert (found.sealed, found.marked) == (2, True)


async def test_writers_of_both_versions_go_on(valkey, monkeypatch):
    """No record is left without a right seal, also if an earlier version changes it meanwhile."""
    monkeypatch.setattr(module, "PAGE", 3)
    async with administration(valkey.endpoint) as old:
        records = [await old.issue() for _ in range(30)]
        async with administration(sealed(valkey.endpoint)) as new:

            async def write(admin, mine):
                for record in mine:
                    await admin.disable(record.kid)
                    await admin.issue()

            *_, found = await asyncio.gather(
                write(old, records[::2]), write(new, records[1::2]), reseal(valkey.endpoint)
            )
    assert found.marked
    assert found.refused == {}
    for kid in (await reseal(valkey.endpoint, dry_run=True)).refused:
        # An earlier version wrote these after the store was marked.
        assert int(valkey.admin.hget(stored.key(kid), "version")) > found.seq


async def test_a_record_with_a_wrong_seal_is_named_and_left_alone(valkey):
    """Nobody's tampering is sealed by accident; --accept seals it, with an audit entry."""
    async with (
        administration(sealed(valkey.endpoint)) as admin,
        Sidecar(sealed(valkey.endpoint)) as sidecar,
    ):
        await sidecar.trusted()
        good, bad = await admin.issue(), await admin.revoke((await admin.issue()).kid)
        valkey.admin.hset(stored.key(bad.kid), "status", "active")
        found = await reseal(valkey.endpoint)
        assert found.refused.keys() == {bad.kid}
        assert (found.looked_at, found.refusals, found.sealed) == (2, 1, 0)
        assert isinstance(await load(sidecar, bad.kid), BadSeal)
        async with resealing(valkey.endpoint) as (work, keys):
            author = admin.lifecycle.author("ops", "it is ours")
            accepted = await work.accept(keys, bad.kid, author, NOW)
            assert accepted.status is Status.ACTIVE
            with pytest.raises(Conflict, match="is right"):
                await work.accept(keys, good.kid, author, NOW)
            with pytest.raises(NotFound):
                await work.accept(keys, "x" * 16, author, NOW)
        record = await load(sidecar, bad.kid)
        assert record.status is Status.ACTIVE
        async with valkey.endpoint.client() as client:
            entry = await StoredTrail(client).entry(bad.kid, record.version)
        assert (entry.event.actor, entry.event.note) == ("ops", "it is ours")
        assert entry.event.detail == {"seal": {"old": "wrong or absent", "new": "accepted"}}


async def test_a_record_without_a_seal_in_a_marked_store(valkey):
    """Such a record is refused, not sealed: somebody without the pepper may have written it."""
    async with administration(valkey.endpoint) as old:
        await old.issue()
        await reseal(valkey.endpoint)
        late = await old.issue()
    found = await reseal(valkey.endpoint)
    assert found.refused.keys() == {late.kid}
    async with resealing(valkey.endpoint) as (work, keys):
        await work.accept(keys, late.kid, Lifecycle(keys, RING, RealClock()).author("ops"), NOW)
    assert results(valkey) == {Seal.VALID}


async def test_accepting_a_version_that_the_store_never_had(valkey):
    """A record from the future is not accepted: its number would use up the numbers of changes."""
    async with administration(sealed(valkey.endpoint)) as admin:
        record = await admin.issue()
        valkey.admin.hset(stored.key(record.kid), "version", "999999999999999")
        async with resealing(valkey.endpoint) as (work, keys):
            with pytest.raises(Unreadable, match="above the number of the last change"):
                await work.accept(keys, record.kid, admin.lifecycle.author("ops"), NOW)


async def test_records_that_cannot_be_read(valkey):
    """A garbled record and a name of another type are named, and the others are sealed."""
    async with administration(valkey.endpoint) as old:
        garbled, other, good = [await old.issue() for _ in range(3)]
    valkey.admin.hset(stored.key(garbled.kid), "status", "maybe")
    valkey.admin.delete(stored.key(other.kid))
    valkey.admin.set(stored.key(other.kid), "text")
    found = await reseal(valkey.endpoint)
    assert found.refused.keys() == {garbled.kid, other.kid}
    assert found.marked
    fields = valkey.admin.hgetall(stored.key(good.kid))
    assert RING.record_seals.check(good.kid, fields) is Seal.VALID


async def test_a_new_pepper_seals_all_records(valkey):
    """After the pepper was changed, `authz reseal` seals all records with the newest one."""
    one, two = make_pepper("1"), make_pepper("2")
    both, newer = Keyring("ak", [one, two]), Keyring("ak", [two])
    async with administration(sealed(valkey.endpoint)) as admin:
        await admin.issue()
    async with administration(sealed(valkey.endpoint, both), both):
        assert (await reseal(valkey.endpoint, both)).sealed == 1
    assert results(valkey, newer) == {Seal.VALID}


async def test_a_store_that_is_emptied_meanwhile(valkey):
    """Nothing is marked in a store that lost its authz:meta."""
    async with administration(valkey.endpoint) as old:
        await old.issue()
        async with resealing(valkey.endpoint) as (work, _):
            with pytest.raises(Conflict, match="emptied"):
                await work.run(lambda _: valkey.admin.delete(stored.META))


async def test_more_changes_than_the_log_holds(valkey, monkeypatch):
    """Changes that the log no longer holds end the run; what it sealed stays sealed."""
    async with administration(valkey.endpoint) as old:
        record = await old.issue()

        def trim(_found):
            valkey.admin.incr(stored.SEQ)
            valkey.admin.xtrim(stored.LOG, maxlen=0)

        with pytest.raises(Unavailable, match="than the log holds"):
            await reseal(valkey.endpoint, progress=trim)
    fields = valkey.admin.hgetall(stored.key(record.kid))
    assert RING.record_seals.check(record.kid, fields) is Seal.VALID
