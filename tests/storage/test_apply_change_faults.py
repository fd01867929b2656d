"""apply_change.lua with faults: it refuses before it writes, and no failure gives a key access."""

from dataclasses import replace

import pytest

from authz.core.errors import Unavailable
from authz.core.records import Status
from tests.support.fakes import KID, NOW
from tests.support.real import free_port
from tests.support.storage import stored
from tests.support.storage.changing import (
    CLIENT,
    DONE,
    KEYS,
    READS,
    WRITES,
    audited,
    everything,
    failing,
    issued,
    permitted,
    revoked,
)
from tests.support.storage.sidecar import LEASE, Sidecar

# what is refused whole


async def refused_whole(valkey, store, change, match):
    """Assert that the change is refused and nothing was written."""
    before = everything(valkey)
    with pytest.raises(Unavailable, match=match):
        await store.apply(change)
    assert everything(valkey) == before


GARBLED = ["nonsense", "-5", "1.5", "1e3", "0x10", " 5", "inf", "nan", "", "9" * 16, "9" * 400]


@pytest.mark.parametrize("text", GARBLED)
async def test_garbled_sequence(valkey, admin, text):
    """A sequence that is not a number stops changes before anything is written."""
    await admin.store.apply(issued())
    change = await revoked(admin.store)
    valkey.admin.set(stored.SEQ, text)
    await refused_whole(valkey, admin.store, change, "seq")

    valkey.admin.set(stored.SEQ, "1")
    assert await admin.store.apply(change) == 2


@pytest.mark.parametrize("text", GARBLED)
async def test_garbled_version(valkey, admin, text):
    """A record whose version is not a number is not overwritten."""
    await admin.store.apply(issued())
    change = await revoked(admin.store)
    valkey.admin.hset(stored.key(KID), "version", text)
    await refused_whole(valkey, admin.store, change, "version")


@pytest.mark.parametrize("stream", [stored.LOG, stored.AUDIT])
async def test_stream_at_its_end(valkey, admin, stream):
    """A stream id after which no number is left stops changes before anything is written."""
    await admin.store.apply(issued())
    change = await revoked(admin.store)
    valkey.admin.xadd(stream, {"kid": KID}, id="18446744073709551615-0")
    await refused_whole(valkey, admin.store, change, stream.rpartition(":")[2])


@pytest.mark.parametrize("name", KEYS)
async def test_wrong_type(valkey, admin, name):
    """A key of another type is named and nothing is written. After repair the change is made."""
    change = issued()
    valkey.admin.rpush(name, "text")
    await refused_whole(valkey, admin.store, change, "WRONGTYPE")

    valkey.admin.delete(name)
    assert await admin.store.apply(change) == 1


async def test_permissions(valkey, admin):
    """These permissions are sufficient and necessary for a change and its repetition."""
    async with permitted(valkey) as store:
        await store.apply(issued())
        change = await revoked(store)
        assert await store.apply(change) == 2
        assert await store.apply(change) == 2
    assert valkey.admin.acl_log() == []


@pytest.mark.parametrize("command", [*READS, *DONE])
async def test_missing_command(valkey, admin, command):
    """Without one of the commands nothing is written. A missing write command is named."""
    await admin.store.apply(issued())
    change = await revoked(admin.store)
    async with permitted(valkey, f"-{command}") as store:
        match = f"(?i)may not {command}" if command in DONE else "(?i)permission|can't run"
        await refused_whole(valkey, store, change, match)


@pytest.mark.parametrize("name", KEYS)
async def test_missing_key(valkey, admin, name):
    """Without the permission to write one of the keys nothing is written."""
    await admin.store.apply(issued())
    change = await revoked(admin.store)
    others = [f"~{other}" for other in KEYS if other != name]
    async with permitted(valkey, "resetkeys", *others, f"%R~{name}") as store:
        await refused_whole(valkey, store, change, "(?i)may not|permission|access")


async def test_missing_channel(valkey, admin):
    """Without the permission to publish nothing is written."""
    await admin.store.apply(issued())
    change = await revoked(admin.store)
    async with permitted(valkey, "resetchannels") as store:
        await refused_whole(valkey, store, change, "may not PUBLISH")


async def test_store_without_memory(own_valkey, own_admin):
    """A full store refuses an issue and writes nothing. With memory the same change is made."""
    change = issued()
    own_valkey.admin.config_set("maxmemory", 1)
    await refused_whole(own_valkey, own_admin.store, change, "the store is full")

    own_valkey.admin.config_set("maxmemory", 0)
    assert await own_admin.store.apply(change) == 1


async def test_replica(own_valkey, own_admin):
    """A replica refuses a change."""
    await own_admin.store.apply(issued())
    change = await revoked(own_admin.store)
    own_valkey.admin.replicaof("127.0.0.1", free_port())
    await refused_whole(own_valkey, own_admin.store, change, "READONLY|read only")


# what fails half way


@pytest.mark.parametrize("nth", range(1, len(WRITES) + 1), ids=WRITES)
async def test_revocation_that_fails_half_way(valkey, admin, nth):
    """A revocation that ends early raises, and every sidecar notices the writes that were made."""
    await admin.store.apply(issued())
    change = await revoked(admin.store)
    async with failing(valkey, nth) as broken, Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        assert (await sidecar.find(KID)).status is Status.ACTIVE

        with pytest.raises(Unavailable, match="injected"):
            await broken.apply(change)
        failed = sidecar.clock.monotonic()
        record = await admin.store.find(KID)
        if record.status is Status.REVOKED:
            assert await sidecar.last_served(KID) < failed + LEASE
        assert (await sidecar.find(KID)).status is record.status

        version = await admin.store.apply(change)
        assert await admin.store.apply(change) == version
        await sidecar.caught_up(version)
        assert (await sidecar.find(KID)).status is Status.REVOKED
    assert (await admin.store.find(KID)).version == version
    assert valkey.admin.get(stored.SEQ) == str(version)
    assert audited(valkey, "c-revoke") == [f"{version}-0"]
    assert valkey.admin.xrange(stored.LOG)[-1][0] == f"{version}-0"


@pytest.mark.parametrize("nth", range(1, len(WRITES) + 1), ids=WRITES)
async def test_issue_that_fails_half_way(valkey, admin, nth):
    """After an issue that ended early, sending it again completes indexes and audit, once."""
    change = issued()
    async with failing(valkey, nth) as broken:
        with pytest.raises(Unavailable, match="injected"):
            await broken.apply(change)

    version = await admin.store.apply(change)
    assert await admin.store.find(KID) == replace(change.record, version=version)
    assert valkey.admin.zscore(stored.KEYS, KID) == NOW
    assert valkey.admin.zscore(stored.client(CLIENT), KID) == NOW
    assert audited(valkey, "c-issue") == [f"{version}-0"]


async def test_audit_entry_that_comes_late(valkey, admin):
    """If the audit entry of a change failed, sending it again writes it once, after later ones."""
    change = issued()
    async with failing(valkey, WRITES.index("XADD audit") + 1) as broken:
        with pytest.raises(Unavailable, match="injected"):
            await broken.apply(change)
    for number in range(3):
        await admin.store.apply(issued(f"other{number}", str(number) * 16))

    assert await admin.store.apply(change) == 1
    assert await admin.store.apply(change) == 1
    assert audited(valkey, "c-issue") == ["4-1"]
    assert await admin.store.apply(issued("next", "9" * 16)) == 5
    assert audited(valkey, "next") == ["5-0"]
