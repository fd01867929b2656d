"""A store that was divided by backup and restore, and a sidecar process on it."""

import asyncio
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from authz.core.keys.text import new_kid
from authz.core.new_keys import KeySpec
from authz.core.partitions import Partitions
from authz.core.records import KeyRecord, RevocationReason
from authz.flows.importing import Done, Importer, Wanted
from authz.flows.lifecycle import Changed, Lifecycle
from authz.process.clock import SystemClock
from authz.settings import model
from authz.settings.model import Settings
from authz.storage.field_codec import as_bytes
from authz.storage.index_members import short_member
from authz.storage.schema import Names
from authz.wiring import administration, backups
from tests.support.checked_sidecar import DIVIDED, CheckedSidecar, waited
from tests.support.cli.terminal import run
from tests.support.real import Valkey

COUNT = 8
PARTITIONS = Partitions(COUNT)
EIGHT = [Names(partition=partition, partitions=COUNT) for partition in range(COUNT)]
KEYS = 300
TENANTS = [f"tenant-{number}" for number in range(12)]
POOL = 15
POOLS = {"pools": {"tenants": {TENANTS[0]: [f"{POOL}/d"]}}}
IMPORTS = [f"sk-old-{number:030}" for number in range(10)]


class World(NamedTuple):
    """A sidecar on the divided store, and the keys that were made before."""

    gate: CheckedSidecar
    settings: Settings
    keys: list[Changed]
    revoked: set[str]


def owners(dice: random.Random) -> dict[str, str]:
    """Return the owner of a key: some have a tenant, some a project alone."""
    found = {"client_id": f"c{dice.randrange(40)}"}
    if dice.random() < 0.6:
        found["tenant_id"] = dice.choice(TENANTS)
    if dice.random() < 0.4:
        found["project_id"] = f"p{dice.randrange(9)}"
    return found


async def fill(settings: Settings, dice: random.Random) -> tuple[list[Changed], set[str]]:
    """Set up a store with one partition, and return its keys and those that are revoked."""
    ring = administration.keyring(settings)
    async with administration.store(settings) as store:
        await store.initialise(ring.fingerprints, ring.prefixes, is_compact=True)
    async with administration.our_parts(settings, ring) as parts:
        life = Lifecycle(parts.keys, ring, SystemClock(), lambda: parts.counters)
        made = [
            await life.issue(
                KeySpec(**{"env": "live", "life_ms": None} | owners(dice)), life.author("tests")
            )
            for _ in range(KEYS)
        ]
        revoked = {key.record.kid for key in made[::30]}
        for kid in revoked:
            await life.revoke(kid, RevocationReason.UNSPECIFIED, life.author("tests"))
        pooled = KeySpec(client_id="c0", env="live", life_ms=None, tenant_id=TENANTS[0])
        # Whether a kid leads elsewhere is random: at least one key of the pool of each kind.
        while {is_moved(key.record) for key in of_the_pool(made, revoked)} != {True, False}:
            made.append(await life.issue(pooled, life.author("tests")))
        importer = Importer(parts.imports, parts.index, SystemClock(), "tests")
        wanted = [
            Wanted(
                ring.parse_imported(text),
                KeySpec(**{"env": "live", "life_ms": None} | owners(dice)),
            )
            for text in IMPORTS
        ]
        assert all(isinstance(one, Done) for one in await importer.put(wanted))
    return made, revoked


def of_the_pool(keys: list[Changed], revoked: set[str]) -> list[Changed]:
    """Return the keys of the tenant with a limit that are not revoked."""
    found = [key for key in keys if key.record.tenant_id == TENANTS[0]]
    return [key for key in found if key.record.kid not in revoked]


async def divide(one: Settings, many: Settings, valkey: Valkey) -> None:
    """Back up the store, empty it, and restore it into several partitions."""
    with tempfile.TemporaryFile() as file:
        await backups.back_up(one, file)
        valkey.admin.flushall()
        file.seek(0)
        await backups.restore(many, file, 0, "tests")


@pytest.fixture
def world(tmp_path: Path, valkey: Valkey) -> Iterator[World]:
    """A sidecar that trusts every partition of a divided store."""
    one = model.load(CheckedSidecar(tmp_path, valkey).file, environ={})
    gate = CheckedSidecar(tmp_path, valkey, DIVIDED | POOLS)
    many = model.load(gate.file, environ={})
    keys, revoked = asyncio.run(fill(one, random.Random(20261130)))
    asyncio.run(divide(one, many, valkey))
    with gate:
        gate.wait_until_all_are_trusted()
        yield World(gate, many, keys, revoked)


def places_of(record: KeyRecord) -> tuple[int, int]:
    """Return the home of a key, and the partition to which its kid leads."""
    return PARTITIONS.home_of(record), PARTITIONS.of(record.kid)


def entry_of(kid: str) -> bytes:
    """Return the field of the entry of a moved key."""
    return as_bytes(short_member(kid))


def is_moved(record: KeyRecord) -> bool:
    """Return whether the kid of a key does not lead to its home."""
    return PARTITIONS.of(record.kid) != PARTITIONS.home_of(record)


def test_each_key_is_answered(world: World) -> None:
    """Keys of before are allowed, revoked ones and kids of no key get 401, imports are known."""
    others = [key for key in world.keys if key.record.tenant_id != TENANTS[0]]
    assert sum(is_moved(key.record) for key in others) > KEYS // 2
    wanted = [401 if key.record.kid in world.revoked else 200 for key in others]
    for _ in range(2):
        assert world.gate.statuses(others) == wanted
    ring = administration.keyring(world.settings)
    for _ in range(20):
        assert world.gate.status(ring.mint("live", new_kid()).text) == 401
    assert {world.gate.status(text) for text in IMPORTS} <= {200, 429}
    assert world.gate.status("sk-old-" + "9" * 30) == 401


def test_the_pool_of_a_tenant_is_never_exceeded(world: World) -> None:
    """Moved keys and others of a tenant are counted together, in one partition."""
    keys = of_the_pool(world.keys, world.revoked)
    assert {is_moved(key.record) for key in keys} == {True, False}
    found = [status for _ in range(4) for status in world.gate.statuses(keys)]
    assert found.count(200) <= POOL
    assert found.count(200) >= POOL - 1
    assert set(found) == {200, 429}


def moved_keys(world: World) -> list[Changed]:
    """Return the moved keys that work and have no pool with a limit."""
    return [
        key
        for key in world.keys
        if is_moved(key.record)
        and key.record.kid not in world.revoked
        and key.record.tenant_id != TENANTS[0]
    ]


def test_a_moved_key_is_revoked(world: World) -> None:
    """The revocation arrives by the link of the home, within the wait of administration."""
    moved = moved_keys(world)[:12]
    assert set(world.gate.statuses(moved)) == {200}

    async def revoke() -> None:
        ring = administration.keyring(world.settings)
        async with administration.our_parts(world.settings, ring) as parts:
            life = Lifecycle(parts.keys, ring, SystemClock())
            for key in moved[::2]:
                why = RevocationReason.KEY_COMPROMISE
                done = await life.revoke(key.record.kid, why, life.author("tests"))
                assert isinstance(done, Changed)
                confirmed = await parts.wait.for_key(done.record, 20)
                assert confirmed.is_complete

    asyncio.run(revoke())
    assert world.gate.statuses(moved) == [401, 200] * 6


def test_without_the_partition_that_names_it(world: World, valkey: Valkey) -> None:
    """A moved key that is not known gets 503, never 401. One that is known is served."""
    named = 3
    moved = [key for key in moved_keys(world) if PARTITIONS.of(key.record.kid) == named]
    known, unknown = moved[0], moved[1]
    assert world.gate.status(known) == 200
    kept = valkey.admin.hgetall(EIGHT[named].meta)
    valkey.admin.delete(EIGHT[named].meta)
    waited(lambda: list(world.gate.store["untrusted"]) == [str(named)])
    assert world.gate.status(unknown) == 503
    assert world.gate.status(known) == 200
    valkey.admin.hset(EIGHT[named].meta, mapping=kept)
    world.gate.wait_until_all_are_trusted()
    waited(lambda: world.gate.status(unknown) == 200)


def test_a_copy_where_the_kid_leads(world: World, valkey: Valkey) -> None:
    """A copy of a moved key is refused there and named. Else it would outlive the revocation.

    Whoever writes the copy before the revocation puts no old record back: it is the current one.
    """
    copied, known = moved_keys(world)[:2]
    assert world.gate.status(known) == 200  # the sidecar knows where this one lies
    for key in (copied, known):
        home, named = (EIGHT[at] for at in places_of(key.record))
        valkey.admin.copy(home.key(key.record.kid), named.key(key.record.kid))
    assert [world.gate.status(key) for key in (copied, known)] == [503, 200]
    kid = copied.record.kid
    assert f"record {kid}: it lies in partition" in world.gate.log.read_text()
    report = run("--config", str(world.gate.file), "doctor", "--json")
    (finding,) = [one for one in report.document["findings"] if one["check"] == "moved"]
    assert finding["level"] == "fail"
    assert kid in finding["found"] or known.record.kid in finding["found"]
    done = run("--config", str(world.gate.file), "keys", "revoke", kid)
    assert done.code == 0
    assert world.gate.status(copied) in {401, 503}


def test_altered_entries_of_moved_keys(world: World, valkey: Valkey) -> None:
    """No entry makes a sidecar use a record outside of its home, old or current."""
    texts = ["8", "x", "", "-1", "own", "elsewhere", "a copy", "an old copy", "a loop"]
    keys = moved_keys(world)[: len(texts)]
    found, kids = {}, [key.record.kid for key in keys]
    for key, text in zip(keys, texts, strict=True):
        kid, (home, named) = key.record.kid, places_of(key.record)
        other = next(at for at in range(COUNT) if at not in {home, named})
        if text.endswith("copy"):
            valkey.admin.copy(EIGHT[home].key(kid), EIGHT[other].key(kid))
        if text == "an old copy":
            assert run("--config", str(world.gate.file), "keys", "revoke", kid).code == 0
        if text == "a loop":
            valkey.admin.hset(EIGHT[other].moved, entry_of(kid), str(named))
        given = {"own": str(named)}.get(text, text if len(text) < 3 else str(other))
        valkey.admin.hset(EIGHT[named].moved, entry_of(kid), given)
        found[text] = world.gate.status(key)
    spoiled = dict.fromkeys(["8", "x", "", "-1", "own", "a copy", "an old copy"], 503)
    assert found == spoiled | {"elsewhere": 401, "a loop": 401}
    report = run("--config", str(world.gate.file), "doctor", "--json")
    (finding,) = [one for one in report.document["findings"] if one["check"] == "moved"]
    assert finding["level"] == "fail"
    assert any(kid in finding["found"] for kid in kids)
