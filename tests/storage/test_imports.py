"""Imports on a real server: alias and record are written in one step, in batches."""

from dataclasses import replace

import pytest

from authz.core import changes
from authz.core.changes import Author
from authz.core.errors import AliasTaken, Conflict, OutcomeUnknown, Unavailable
from authz.core.records import Status
from authz.storage.batches import _SCRIPTS
from authz.storage.imports import StoredImports
from authz.storage.indexing import Indexing
from authz.storage.keys import StoredKeys
from tests.support.fakes import KID, NOW
from tests.support.real import eventually
from tests.support.storage import stored
from tests.support.storage.changing import (
    ALIAS,
    CLIENT,
    NEWEST,
    OLDER,
    OTHER_KID,
    WRITES,
    audited,
    everything,
    failing,
    imported,
    permitted,
)
from tests.support.storage.sealing import sealed
from tests.support.storage.sidecar import Sidecar

INDEXING = ["watch", "unwatch", "multi", "exec", "hget", "getrange", "setrange", "append"]
IMPORT_WRITES = [*WRITES[:-1], "SET alias", "PUBLISH"]


# what the script writes


async def test_what_is_written(valkey, admin):
    """An import writes the alias of the newest digest together with all that an issue writes."""
    change = imported()
    assert await admin.store.apply(change) == 1
    assert await admin.store.find(KID) == replace(change.record, version=1)
    assert valkey.admin.get(ALIAS) == KID
    assert valkey.admin.exists(stored.alias(OLDER)) == 0
    assert valkey.admin.zscore(stored.KEYS, KID) == NOW
    assert valkey.admin.zscore(stored.client(CLIENT), KID) == NOW
    [(entry_id, entry)] = valkey.admin.xrange(stored.AUDIT)
    assert (entry_id, entry["action"]) == ("1-0", "import")
    assert NEWEST.hex() not in str([*valkey.admin.xrange(stored.LOG), entry])


@pytest.mark.parametrize("taken", [NEWEST, OLDER])
async def test_taken(valkey, admin, taken):
    """An import is refused if a digest belongs to another kid, and nothing is written."""
    await admin.store.apply(imported("c-first", OTHER_KID, [taken]))
    before = everything(valkey)
    with pytest.raises(AliasTaken, match=OTHER_KID):
        await admin.store.apply(imported())
    assert everything(valkey) == before


async def test_the_same_import_again(valkey, admin):
    """Sending the same import again writes nothing. Its own alias is no obstacle."""
    await admin.store.apply(imported())
    before = everything(valkey)
    assert await admin.store.apply(imported()) == 1
    assert everything(valkey) == before


async def test_conflict_leaves_the_alias(valkey, admin):
    """A change with an outdated version writes no alias."""
    await admin.store.apply(imported())
    valkey.admin.delete(ALIAS)
    with pytest.raises(Conflict):
        await admin.store.apply(imported("c-other"))
    assert valkey.admin.exists(ALIAS) == 0


async def test_alias_of_a_wrong_type(valkey, admin):
    """An alias of another Redis type stops the import before anything is written."""
    valkey.admin.rpush(ALIAS, "text")
    before = everything(valkey)
    with pytest.raises(Unavailable, match="WRONGTYPE"):
        await admin.store.apply(imported())
    assert everything(valkey) == before


async def test_no_permission_for_the_alias(valkey, admin):
    """Without the right to write the alias nothing is written."""
    change = imported()
    before = everything(valkey)
    others = ["~authz:{0}:[!a]*", "~authz:{0}:audit", "~authz:meta", "%R~authz:{0}:alias:*"]
    async with permitted(valkey, "resetkeys", *others) as store:
        with pytest.raises(Unavailable, match=r"(?i)may not|permission|access"):
            await store.apply(change)
    assert everything(valkey) == before


@pytest.mark.parametrize("nth", range(1, len(IMPORT_WRITES) + 1), ids=IMPORT_WRITES)
async def test_import_that_fails_half_way(valkey, admin, imports, nth):
    """After an import that ended early no sidecar finds half of it, and the next run completes it.

    Without the alias the key can be imported again; with it, everything else exists.
    """
    await imports.allow_imports()
    change = imported()
    async with failing(valkey, nth) as broken, Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        with pytest.raises(Unavailable, match="injected"):
            await broken.apply(change)
        [kid] = await imports.resolve_all([[NEWEST, OLDER]])
        if kid is not None:
            assert await admin.store.find(KID) == replace(change.record, version=1)
            assert valkey.admin.zscore(stored.KEYS, KID) == NOW
            assert audited(valkey, change.id) == ["1-0"]

        [outcome] = await imports.apply_all([imported("c-again", OTHER_KID)])
        if kid is not None:
            assert isinstance(outcome, AliasTaken)
            assert outcome.kid == KID
        alias = await sidecar.alias([NEWEST, OLDER])
        assert alias.kid == (kid or OTHER_KID)
        await eventually(lambda: sidecar.is_trusted)
        assert (await sidecar.find(alias.kid)).newest_secret.digest == NEWEST


async def test_many_at_once(valkey, admin, imports):
    """A batch applies changes in order and independently; a refused one stops no other."""
    await admin.store.apply(imported("c-first", OTHER_KID, [b"7" * 32]))
    batch = [
        imported(f"c{number}", f"kid{number:013}", [str(number).encode() * 32])
        for number in range(10)
    ]
    outcomes = await imports.apply_all(batch)
    assert outcomes[:7] == [2, 3, 4, 5, 6, 7, 8]
    assert isinstance(outcomes[7], AliasTaken)
    assert outcomes[8:] == [9, 10]
    found = await imports.resolve_all([change.aliases for change in batch])
    assert found == [
        *[c.record.kid for c in batch[:7]],
        OTHER_KID,
        *[c.record.kid for c in batch[8:]],
    ]
    assert await imports.apply_all(batch[:2]) == [2, 3]


async def test_store_that_forgets_its_scripts(valkey, imports, monkeypatch):
    """A store that loses its scripts during an import gets them again, and no key is made twice."""
    batches = imports._batches
    load = batches._load_scripts

    async def load_and_lose(changes):
        await load(changes)
        valkey.admin.script_flush()
        monkeypatch.setattr(batches, "_load_scripts", load)

    monkeypatch.setattr(batches, "_load_scripts", load_and_lose)
    assert await imports.apply_all([imported(), imported("c2", OTHER_KID, [b"x" * 32])]) == [1, 2]
    assert await imports.resolve_all([[NEWEST], [b"x" * 32]]) == [KID, OTHER_KID]


async def test_scripts_that_cannot_be_loaded_again(valkey, imports, monkeypatch):
    """If a part was applied and the script for the rest is lost, the outcome is unknown."""
    batches = imports._batches
    load = batches._load_scripts

    async def fail(_changes):
        raise Unavailable("injected")

    async def load_and_lose_one(changes):
        await load(changes)
        valkey.admin.script_flush()
        valkey.admin.script_load(_SCRIPTS[True])
        monkeypatch.setattr(batches, "_load_scripts", fail)

    monkeypatch.setattr(batches, "_load_scripts", load_and_lose_one)
    narrowing = replace(imported(), narrows=True)
    with pytest.raises(OutcomeUnknown, match="injected"):
        await imports.apply_all([narrowing, imported("c2", OTHER_KID, [b"x" * 32])])
    assert await imports.resolve_all([[NEWEST], [b"x" * 32]]) == [KID, None]


async def test_a_failure_before_the_second_of_one_key(valkey, imports, monkeypatch):
    """If the first of one key in a batch was applied, and the store then fails, that is unknown."""
    batches = imports._batches
    load = batches._load_scripts

    async def load_once(changes):
        await load(changes)
        monkeypatch.setattr(batches, "_load_scripts", fail)

    async def fail(_changes):
        raise Unavailable("injected")

    monkeypatch.setattr(batches, "_load_scripts", load_once)
    with pytest.raises(OutcomeUnknown, match="injected"):
        await imports.apply_all([imported(), imported("c2", OTHER_KID)])
    assert await imports.resolve_all([[NEWEST]]) == [KID]


async def test_lost_connection(own_valkey, own_admin):
    """Lost replies give OutcomeUnknown, an unreachable store Unavailable."""
    async with own_valkey.endpoint.client(timeout=0.3) as client:
        imports = StoredImports(client)
        load = imports._batches._load_scripts

        async def load_and_die(changes):
            await load(changes)
            own_valkey.kill()

        imports._batches._load_scripts = load_and_die
        with pytest.raises(OutcomeUnknown):
            await imports.apply_all([imported()])
        imports._batches._load_scripts = load
        for call in (
            imports.apply_all([imported()]),
            imports.resolve_all([[NEWEST]]),
            imports.allow_imports(),
        ):
            with pytest.raises(Unavailable, match="cannot be used") as caught:
                await call
            assert not isinstance(caught.value, OutcomeUnknown)


async def test_permissions_of_an_import(valkey, admin):
    """An import needs the permissions of a change, MGET for a dry run, and some for the index."""
    indexing = [f"+{name}" for name in INDEXING]
    async with permitted(valkey, "+mget", *indexing) as store:
        imports = StoredImports(store._client)
        await imports.allow_imports()
        assert await imports.apply_all([imported()]) == [1]
        assert await imports.resolve_all([[NEWEST, OLDER]]) == [KID]
    assert valkey.admin.acl_log() == []
    assert valkey.admin.get(stored.IMPORTED).endswith(NEWEST[:6].hex())


@pytest.mark.parametrize("missing", sorted({*INDEXING} - {"unwatch", "multi"}))
async def test_import_without_the_index(valkey, admin, missing):
    """A user with the rights of an earlier version imports keys, and the index is incomplete."""
    indexing = [f"+{name}" for name in INDEXING if name != missing]
    async with permitted(valkey, "+mget", *indexing) as store:
        imports = StoredImports(store._client)
        await imports.allow_imports()
        assert await store.apply(imported()) == 1
        assert valkey.admin.get(ALIAS) == KID
        assert await Indexing(admin.store._client).is_needed()


async def test_revoked_import_is_not_imported_again(valkey, admin, imports):
    """A revoked key stays revoked, however often it is imported again."""
    await imports.apply_all([imported()])
    await admin.revoke(KID)
    [outcome] = await imports.apply_all([imported("c-again", OTHER_KID)])
    assert isinstance(outcome, AliasTaken)
    assert (await admin.store.find(KID)).status is Status.REVOKED


async def test_later_changes_leave_the_alias(valkey, admin, imports):
    """Only an import writes an alias, and later changes keep it."""
    await imports.apply_all([imported()])
    record = await admin.store.find(KID)
    disabled = changes.disable(record, Author("c-off", "ops"), NOW)
    assert disabled.aliases == ()
    assert await admin.store.apply(disabled) == 2
    assert valkey.admin.get(ALIAS) == KID


async def test_one_key_twice_after_a_change_by_others(valkey):
    """The first is imported, also if the second has a seal for the number that the store gives."""
    async with sealed(valkey.endpoint).client() as client:
        imports = StoredImports(client)
        assert await imports.apply_all([imported("c1", f"{1:016}", [b"1" * 32])]) == [1]
        assert await StoredKeys(client).apply(imported("c2", f"{2:016}", [b"2" * 32])) == 2
        batch = [imported("c3", KID), imported("c4", OTHER_KID)]
        first, second = await imports.apply_all(batch)
    assert first == 3
    assert isinstance(second, AliasTaken)
    assert second.kid == KID


async def test_batches_in_a_row(valkey, admin):
    """The second of two batches asks for no number; a change in between is noticed all the same."""

    def questions() -> int:
        return valkey.admin.info("commandstats").get("cmdstat_get", {"calls": 0})["calls"]

    async with valkey.endpoint.client() as client:
        imports = StoredImports(client)
        kids = [f"{number:016}" for number in range(3)]
        first, second, third = (imported(f"c{kid}", kid, [kid.encode() * 2]) for kid in kids)
        before = questions()
        assert await imports.apply_all([first]) == [1]
        between = questions()
        assert await imports.apply_all([second]) == [2]
        assert questions() - between == between - before - 1  # the rest is of the script
        await admin.store.apply(imported())
        assert await imports.apply_all([third]) == [4]
    for kid in kids:
        assert (await admin.store.find(kid)).kid == kid


@pytest.mark.parametrize("ahead", ["log", "audit", None])
async def test_a_batch_is_numbered_as_single_changes_are(valkey, imports, ahead):
    """Changes of one call get the numbers and the entries that they would get one by one.

    ahead: a stream that is ahead of the sequence, as after a restore of an older copy.
    """
    if ahead:
        valkey.admin.xadd(getattr(stored, ahead.upper()), {"change_id": "c-old"}, id="40-3")
    kids, digests = [f"{n:016}" for n in range(4)], [bytes([n]) * 32 for n in range(4)]
    batch = [imported(f"c-{k}", k, [d]) for k, d in zip(kids, digests, strict=True)]
    first = 41 if ahead else 1
    assert await imports.apply_all([*batch[:3], batch[0]]) == [first, first + 1, first + 2, first]
    assert await imports.apply_all([batch[3], batch[1]]) == [first + 3, first + 1]
    ids = [entry_id for entry_id, entry in valkey.admin.xrange(stored.AUDIT) if "kid" in entry]
    assert ids == [f"{first + at}-0" for at in range(4)]
    logged = [entry["kid"] for _, entry in valkey.admin.xrange(stored.LOG) if "kid" in entry]
    assert logged == kids
