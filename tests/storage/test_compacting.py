"""Compacting: all records of a store change their form while everything goes on."""

import asyncio
import json

import pytest

from authz.core.errors import Conflict, Unavailable
from authz.core.seals import Seal
from authz.storage import compacting as module
from authz.storage import schema
from authz.storage.compacting import Compacting
from authz.storage.resealing import Resealing
from authz.storage.seals import seals_of
from tests.support.fakes import make_keyring
from tests.support.real import eventually
from tests.support.storage import stored
from tests.support.storage.sealing import fields_of, load, sealed, write_store_before_seals
from tests.support.storage.sidecar import Registered, Sidecar, administration

RING = make_keyring()


async def compact(endpoint, *, to_hashes=False, **options):
    """Run `authz compact` and return its result."""
    async with endpoint.client() as client:
        return await Compacting(client, to_hashes=to_hashes).run(**options)


def forms(valkey):
    """Return the types of all records."""
    return {valkey.admin.type(name) for name in valkey.admin.keys(stored.key("*"))}


def marked(valkey):
    """Return the mark of the store."""
    return valkey.admin.hget(stored.META, schema.META_COMPACT)


async def test_a_store_of_an_earlier_version(valkey):
    """Keys of an old store work before, while and after its records change their form, and back."""
    ring, kids = write_store_before_seals(valkey.admin)
    before = {kid: fields_of(valkey, kid) for kid in kids}
    async with Sidecar(sealed(valkey.endpoint, ring), keyring=ring) as sidecar:
        await sidecar.trusted()
        records = [await load(sidecar, kid) for kid in kids]
        rehearsed = await compact(valkey.endpoint, dry_run=True)
        assert (rehearsed.written, forms(valkey), marked(valkey)) == (7, {"hash"}, None)
        found = await compact(valkey.endpoint)
        assert (found.looked_at, found.written, found.refused) == (7, 7, {})
        assert (forms(valkey), marked(valkey)) == ({"string"}, schema.ALL_COMPACT)
        assert {kid: fields_of(valkey, kid) for kid in kids} == before
        assert [await load(sidecar, kid) for kid in kids] == records
        await eventually(lambda: sidecar.feed.meta.form.value == "compact")
        assert [await load(sidecar, kid) for kid in kids] == records
        back = await compact(valkey.endpoint, to_hashes=True)
        assert (back.looked_at, back.written, marked(valkey)) == (7, 7, None)
        assert {kid: valkey.admin.hgetall(stored.key(kid)) for kid in kids} == before
        assert [await load(sidecar, kid) for kid in kids] == records


async def test_seals_stay(valkey):
    """A rewritten record keeps its seal; `authz reseal` seals compact records as well."""
    async with (
        administration(valkey.endpoint) as old,
        administration(sealed(valkey.endpoint)) as new,
    ):
        bare, own = await old.issue(), await new.issue()
        await compact(valkey.endpoint)
        check = RING.record_seals.check
        assert check(own.kid, fields_of(valkey, own.kid)) is Seal.VALID
        assert check(bare.kid, fields_of(valkey, bare.kid)) is Seal.ABSENT
        async with sealed(valkey.endpoint).client() as client:
            found = await Resealing(client, seals_of(client)).run()
        assert (found.looked_at, found.sealed, found.marked) == (2, 1, True)
        assert check(bare.kid, fields_of(valkey, bare.kid)) is Seal.VALID
        assert forms(valkey) == {"string"}
        assert await new.store.find(bare.kid) == bare


async def test_a_second_run_changes_nothing(valkey, admin):
    """A second run looks at all records and writes none."""
    kid = (await admin.issue()).kid
    await compact(valkey.endpoint)
    before = valkey.admin.dump(stored.key(kid))
    again = await compact(valkey.endpoint)
    assert (again.looked_at, again.written) == (1, 0)
    assert valkey.admin.dump(stored.key(kid)) == before


@pytest.mark.parametrize("to_hashes", [False, True])
async def test_an_interrupted_run_goes_on(valkey, admin, monkeypatch, to_hashes):
    """A run that ends half way leaves records of both forms; the next one writes the rest."""
    monkeypatch.setattr(module, "PAGE", 4)
    records = [await admin.issue() for _ in range(10)]
    for number, record in enumerate(records):  # the keys of one millisecond come together
        valkey.admin.zadd(stored.KEYS, {record.kid: number})
    if to_hashes:
        await compact(valkey.endpoint)

    def stop(found):
        if found.looked_at == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await compact(valkey.endpoint, progress=stop, to_hashes=to_hashes)
    assert forms(valkey) == {"hash", "string"}
    assert marked(valkey) == (None if to_hashes else schema.SOME_COMPACT)
    assert [await admin.store.find(one.kid) for one in records] == records
    found = await compact(valkey.endpoint, to_hashes=to_hashes)
    assert (found.looked_at, found.written) == (10, 4)
    assert forms(valkey) == {"hash" if to_hashes else "string"}


@pytest.mark.parametrize("to_hashes", [False, True])
async def test_changes_go_on(valkey, monkeypatch, to_hashes):
    """No change is lost that is made meanwhile, and no record keeps the former form."""
    monkeypatch.setattr(module, "PAGE", 3)
    async with administration(sealed(valkey.endpoint)) as admin:
        records = [await admin.issue() for _ in range(30)]
        if to_hashes:
            await compact(valkey.endpoint)

        async def write(mine):
            changed = []
            for record in mine:
                changed += [await admin.disable(record.kid), await admin.issue()]
            return changed

        *changed, found = await asyncio.gather(
            write(records[::2]),
            write(records[1::2]),
            compact(valkey.endpoint, to_hashes=to_hashes),
        )
        assert found.refused == {}
        await compact(valkey.endpoint, to_hashes=to_hashes)
        assert forms(valkey) == {"hash" if to_hashes else "string"}
        for record in [*changed[0], *changed[1]]:
            assert (await admin.store.find(record.kid)).status is record.status


async def test_a_damaged_record_stays_as_it_is(valkey, admin):
    """A damaged record is named, in both directions, and hides no other."""
    good, garbled, lost = [await admin.issue() for _ in range(3)]
    valkey.admin.hset(stored.key(garbled.kid), "created_at", "007")
    valkey.admin.delete(stored.key(lost.kid))
    valkey.admin.rpush(stored.key(lost.kid), "text")
    found = await compact(valkey.endpoint)
    assert found.refused.keys() == {garbled.kid, lost.kid}
    assert (found.looked_at, found.written, found.refusals) == (2, 1, 2)
    assert valkey.admin.hget(stored.key(garbled.kid), "created_at") == "007"
    assert await admin.store.find(good.kid) == good
    valkey.admin.set(stored.key(good.kid), "text")
    assert good.kid in (await compact(valkey.endpoint, to_hashes=True)).refused
    assert valkey.admin.get(stored.key(good.kid)) == "text"


async def test_a_user_without_the_right_to_write_hashes(valkey, admin):
    """If the store refuses to write a hash, the compact record stays."""
    record = await admin.issue()
    await compact(valkey.endpoint)
    rules = ("reset", "on", ">pw", "~authz:*", "+@all", "-hset")
    valkey.admin.execute_command("ACL", "SETUSER", "narrow", *rules)
    with pytest.raises(Unavailable, match=r"used: this user may not HSET \S+$"):
        await compact(valkey.login("narrow", "pw"), to_hashes=True)
    assert await admin.store.find(record.kid) == record


async def test_an_empty_text_is_a_damaged_record(valkey, admin):
    """A record of no bytes is named like any other damaged one, also by `authz reseal`."""
    kid = (await admin.issue()).kid
    valkey.admin.set(stored.key(kid), "")
    assert (await compact(valkey.endpoint, to_hashes=True)).refused.keys() == {kid}
    async with sealed(valkey.endpoint).client() as client:
        assert (await Resealing(client, seals_of(client)).run()).refused.keys() == {kid}


async def test_a_store_that_is_emptied(valkey, admin):
    """Without authz:meta nothing is marked."""
    await admin.issue()
    valkey.admin.delete(stored.META)
    with pytest.raises(Conflict):
        await compact(valkey.endpoint)
    assert not valkey.admin.exists(stored.META)


async def test_sidecars_of_an_earlier_version(valkey, admin):
    """A registered sidecar that does not say that it reads compact records is named."""
    async with valkey.endpoint.client() as client, Registered(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        await eventually(lambda: valkey.admin.zcard(stored.SIDECARS) == 1)
        ((instance, at),) = valkey.admin.zrange(stored.SIDECARS, 0, -1, withscores=True)
        assert await Compacting(client).older_sidecars() == []
        entry = json.loads(valkey.admin.get(stored.sidecar(instance)))
        assert entry.pop("reads_compact") is True
        text = json.dumps(entry | {"instance": "old:1"})
        valkey.admin.zadd(stored.SIDECARS, {"old:1": at})
        valkey.admin.set(stored.sidecar("old:1"), text, px=90_000_000)
        assert await Compacting(client).older_sidecars() == ["old:1"]
