"""Imports of the same keys at the same moment, for owners in different partitions."""

import asyncio
import random

import pytest

from authz.core.changes import KeyChange
from authz.core.errors import AliasTaken, Unavailable
from authz.core.import_claims import CLAIM_SECONDS, WRITE_SECONDS
from authz.core.keys.text import new_kid
from authz.core.new_keys import KeySpec, import_key
from authz.core.partitions import Partitions
from authz.core.selector import Selector
from authz.flows.importing import Done, Importer, Wanted
from authz.flows.partitioned import imports
from authz.flows.partitioned.import_claims import ImportClaims
from authz.flows.partitioned.imports import BUSY, PartitionedImports
from authz.flows.selection import Selection
from authz.process.clock import SystemClock
from authz.storage.claims import StoredClaims
from authz.storage.imports import StoredImports
from tests.support.changes import DIGESTS, author
from tests.support.fakes import NOW, FakeClock, make_keyring
from tests.support.storage.divided import client_at
from tests.support.storage.partitioned import COUNT, parts_of

PARTITIONS = Partitions(COUNT)
KEYS = 300
IMPORTS = 4


@pytest.fixture
async def parts(valkey):
    """The partitions of a store."""
    async with parts_of(valkey) as found:
        yield found


def brought_in(home: int) -> KeyChange:
    """Return an import of the same key for the owner of a partition."""
    spec = KeySpec(client_id=client_at(home, COUNT), env="live", life_ms=None)
    kid = PARTITIONS.fitting(new_kid(), spec)
    return import_key(spec, kid, [("1", digest) for digest in DIGESTS], author(), NOW)


async def test_each_key_is_imported_once(valkey):
    """Four imports race for the same keys, each for its own client, one key in a batch after the
    other in another order. Each key is taken once, and each import names that kid.
    """
    ring = make_keyring()
    keys = [ring.parse_imported(f"sk-{number:030}") for number in range(KEYS)]

    async def bring_in(number: int) -> list[dict[int, object]]:
        spec = KeySpec(client_id=client_at(number, COUNT), env="live", life_ms=None)
        order = list(range(KEYS))
        random.Random(number // 2).shuffle(order)  # two of them have the same order
        found: dict[int, object] = {}
        async with parts_of(valkey) as own:
            importer = Importer(
                own.imports, own.index, SystemClock(), "tests", partitions=PARTITIONS
            )
            for at in range(0, KEYS, 10):
                batch = order[at : at + 10]
                outcomes = await importer.put([Wanted(keys[place], spec) for place in batch])
                found |= dict(zip(batch, outcomes, strict=True))
        return [found[place] for place in range(KEYS)]

    outcomes = await asyncio.gather(*map(bring_in, range(IMPORTS)))
    for same in zip(*outcomes, strict=True):
        assert sorted(type(one).__name__ for one in same) == ["Clash", "Clash", "Clash", "Done"]
        assert len({one.kid for one in same}) == 1
    won = [[one for one in found if isinstance(one, Done)] for found in outcomes]
    async with parts_of(valkey) as parts:
        page = await Selection(parts.index, SystemClock()).page(Selector(), KEYS * IMPORTS)
    assert {one.kid for one in page.entries} == {one.kid for own in won for one in own}


async def test_an_import_that_was_killed(parts, monkeypatch):
    """Its claims stop imports for other homes until they end, and none for its own home."""
    monkeypatch.setattr(imports, "PAUSE", 0)
    ours, theirs = brought_in(1), brought_in(2)
    killed = ImportClaims(PARTITIONS, parts.each(StoredClaims))
    assert await killed.take([ours]) == [0]
    [refused] = await parts.imports.apply_all([theirs])
    assert isinstance(refused, Unavailable)
    assert str(refused) == BUSY
    assert await parts.imports.apply_all([ours]) == [1]
    [taken] = await parts.imports.apply_all([theirs])
    assert isinstance(taken, AliasTaken)
    assert taken.kid == ours.record.kid


async def test_claims_are_left_by_no_import_that_ended(parts, valkey):
    """An import gives up its claims, whatever its outcome; those of a killed one end."""
    ours, theirs = brought_in(1), brought_in(2)
    claims = ImportClaims(PARTITIONS, parts.each(StoredClaims))
    await claims.take([ours])
    left = valkey.admin.keys("*:claim:*")
    assert len(left) == len(DIGESTS)
    assert all(0 < valkey.admin.ttl(name) <= CLAIM_SECONDS for name in left)
    await parts.imports.apply_all([ours])
    await parts.imports.apply_all([theirs])
    assert valkey.admin.keys("*:claim:*") == []


async def test_a_claim_of_another_home_cannot_be_given_up(parts, valkey):
    """A late import ends no claim that came after its own."""
    ours, theirs = brought_in(1), brought_in(2)
    claims = ImportClaims(PARTITIONS, parts.each(StoredClaims))
    await claims.take([theirs])
    await claims.give_up([ours])
    assert len(valkey.admin.keys("*:claim:*")) == len(DIGESTS)


async def test_a_store_that_is_too_slow(parts):
    """A key is not written so late that its claim may be over."""
    ours, clock = brought_in(1), FakeClock()

    class Slow(PartitionedImports):
        async def resolve_all(self, digests):
            clock.advance(WRITE_SECONDS + 1)
            return await super().resolve_all(digests)

    slow = Slow(parts.places, parts.each(StoredImports), parts.each(StoredClaims), clock)
    with pytest.raises(Unavailable, match="too long"):
        await slow.apply_all([ours])
    assert await parts.keys.find(ours.record.kid) is None
