"""The ImportStore port: one suite for the twin in memory, the store, and several partitions."""

import asyncio
from dataclasses import replace

import pytest

from authz.core.errors import AliasTaken
from authz.storage.imports import StoredImports
from authz.storage.keys import StoredKeys
from tests.support.changes import imported
from tests.support.fakes import MemoryKeyStore
from tests.support.storage.partitioned import beside, lead_home, parts_of

KIDS = [beside("0" * 16, f"{number:013}") for number in range(5)]
DIGESTS = [bytes([number]) * 32 for number in range(5)]


@pytest.fixture(params=["memory", "valkey", "partitions"])
async def store(request):
    """An empty ImportStore of each kind, and the KeyStore that sees the same keys."""
    if request.param == "memory":
        twin = MemoryKeyStore()
        yield twin, twin
        return
    if request.param == "partitions":
        async with parts_of(request.getfixturevalue("valkey")) as parts:
            await lead_home(parts, KIDS)
            yield parts.imports, parts.keys
        return
    async with request.getfixturevalue("valkey").endpoint.client() as client:
        yield StoredImports(client), StoredKeys(client)


async def test_batch(store):
    """A batch is applied in order, and each key is found by its kid and by its digest."""
    imports, keys = store
    await imports.allow_imports()
    batch = [imported(kid, [digest]) for kid, digest in zip(KIDS, DIGESTS, strict=True)]
    assert await imports.apply_all(batch) == [1, 2, 3, 4, 5]
    assert await imports.resolve_all([[digest] for digest in DIGESTS]) == KIDS
    for version, change in enumerate(batch, start=1):
        assert await keys.find(change.record.kid) == replace(change.record, version=version)
    assert await imports.apply_all(batch) == [1, 2, 3, 4, 5]


async def test_one_that_is_taken(store):
    """A key that was imported before is told by its kid; it stops no other."""
    imports, keys = store
    await keys.apply(imported(KIDS[0], [DIGESTS[1]]))
    batch = [imported(kid, [digest]) for kid, digest in zip(KIDS[1:4], DIGESTS, strict=False)]
    first, taken, last = await imports.apply_all(batch)
    assert (first, last) == (2, 3)
    assert isinstance(taken, AliasTaken)
    assert taken.kid == KIDS[0]


async def test_twice_in_one_batch(store):
    """Of one key twice in a batch the first is imported."""
    imports, _ = store
    first, second = await imports.apply_all([imported(KIDS[0]), imported(KIDS[1])])
    assert first == 1
    assert isinstance(second, AliasTaken)
    assert second.kid == KIDS[0]


async def test_nothing(store):
    """An empty batch is no change, and no digests lead nowhere."""
    imports, _ = store
    assert await imports.apply_all([]) == []
    assert await imports.resolve_all([]) == []
    assert await imports.resolve_all([DIGESTS]) == [None]


async def test_first_that_leads_somewhere(store):
    """Of the digests of one key the newest that has an alias is followed."""
    imports, _ = store
    await imports.apply_all([imported(KIDS[0], [DIGESTS[0]]), imported(KIDS[1], [DIGESTS[1]])])
    assert await imports.resolve_all([DIGESTS[1:], DIGESTS]) == [KIDS[1], KIDS[0]]


async def test_import(store):
    """A key that is imported is found by its kid, and taken for whoever imports it again."""
    _, keys = store
    change = imported(KIDS[0])
    assert await keys.apply(change) == 1
    assert await keys.find(KIDS[0]) == replace(change.record, version=1)
    assert await keys.apply(change) == 1
    with pytest.raises(AliasTaken) as taken:
        await keys.apply(imported(KIDS[1]))
    assert taken.value.kid == KIDS[0]
    assert await keys.find(KIDS[1]) is None


async def test_import_under_another_newest_pepper(store):
    """Any of the digests that leads to another kid is enough to refuse; only the first leads."""
    _, keys = store
    await keys.apply(imported(KIDS[0], DIGESTS[1:]))
    with pytest.raises(AliasTaken):
        await keys.apply(imported(KIDS[1], DIGESTS))
    assert await keys.apply(imported(KIDS[1], DIGESTS[2:])) == 2


async def test_the_same_key_at_the_same_moment(store):
    """Of two imports of one key at the same moment, exactly one is made."""
    _, keys = store
    made = [imported(KIDS[0]), imported(KIDS[1])]
    outcomes = await asyncio.gather(*map(keys.apply, made), return_exceptions=True)
    (taken,) = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert isinstance(taken, AliasTaken)
    assert [await keys.find(kid) is None for kid in (KIDS[0], KIDS[1])].count(True) == 1
