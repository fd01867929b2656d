"""apply_change.lua on a real server: its writes, and how the sequence continues."""

import asyncio
import json
from dataclasses import replace

import pytest

from authz.core.errors import Conflict
from authz.core.records import RevocationReason, Status
from authz.storage import notices
from authz.storage.link import Link
from tests.support.fakes import KID, NOW
from tests.support.real import eventually
from tests.support.storage import stored
from tests.support.storage.changing import CLIENT, OTHER_KID, everything, issued, revoked
from tests.support.storage.sidecar import administration


async def test_what_is_written(valkey, admin):
    """A change writes sequence, log, record, both indexes and the audit entry."""
    issue = issued()
    assert await admin.store.apply(issue) == 1
    assert await admin.store.apply(await revoked(admin.store)) == 2

    redis = valkey.admin
    found = await admin.store.find(KID)
    assert found == replace(
        issue.record,
        version=2,
        status=Status.REVOKED,
        revoked_at=NOW + 1,
        revocation_reason=RevocationReason.KEY_COMPROMISE,
    )
    assert redis.get(stored.SEQ) == "2"
    assert redis.hget(stored.key(KID), "change_id") == "c-revoke"
    log = redis.xrange(stored.LOG)
    assert [(entry_id, entry["kid"], entry["status"]) for entry_id, entry in log] == [
        ("1-0", KID, "active"),
        ("2-0", KID, "revoked"),
    ]
    assert redis.zrange(stored.KEYS, 0, -1, withscores=True) == [[KID, NOW]]
    assert redis.zrange(stored.client(CLIENT), 0, -1, withscores=True) == [[KID, NOW]]
    (first, second) = redis.xrange(stored.AUDIT)
    assert first == (
        "1-0",
        {
            "kid": KID,
            "change_id": "c-issue",
            "action": "issue",
            "actor": "ops",
            "note": "a note",
            "at": str(NOW),
            "detail": json.dumps({"client_id": CLIENT, "expires_at": None}),
            "base": "0",
        },
    )
    assert (second[0], second[1]["action"]) == ("2-0", "revoke")


async def test_notice_comes_after_the_data(valkey, admin):
    """A notice is published last, so its reader finds the change."""
    told, read = [], []
    link = None

    def on_push(push):
        told.append(push[2])
        link.send(read.append, "HGET", stored.key(KID), "status")

    link = await valkey.endpoint.open(lambda: Link(on_push, lambda: None))
    await valkey.endpoint.greet(link, "test")
    await link.call("SUBSCRIBE", stored.CHANGES)
    await admin.store.apply(issued())
    await admin.store.apply(await revoked(admin.store))
    await eventually(lambda: len(read) == 2)
    link.abort()

    assert [notices.decode_notice(text)[:3] for text in told] == [(1, KID, False), (2, KID, True)]
    assert read == ["active", "revoked"]


async def test_conflict_writes_nothing(valkey, admin):
    """A change of a record that has moved on is refused with the version, and writes nothing."""
    await admin.store.apply(issued())
    late = await revoked(admin.store)
    await admin.store.apply(await revoked(admin.store, "c-first"))
    before = everything(valkey)

    with pytest.raises(Conflict, match="at version 2, not 1"):
        await admin.store.apply(late)
    assert everything(valkey) == before


async def test_repeat_writes_nothing_new(valkey, admin):
    """Sending the same change again publishes its notice again and writes nothing."""
    change = issued()
    await admin.store.apply(change)
    before = everything(valkey)

    assert await admin.store.apply(change) == 1
    assert everything(valkey) == before


async def test_script_that_the_store_forgot(valkey, admin):
    """A store that lost its scripts gets the script again."""
    await admin.store.apply(issued())
    valkey.admin.script_flush()
    assert await admin.store.apply(await revoked(admin.store)) == 2


# where the sequence goes on


@pytest.mark.parametrize("lost", [[stored.SEQ], [stored.SEQ, stored.LOG]])
@pytest.mark.parametrize("also", [[], [stored.AUDIT]])
async def test_lost_sequence(valkey, admin, lost, also):
    """A lost sequence continues after the highest number found, so versions never repeat."""
    await admin.store.apply(issued())
    await admin.store.apply(await revoked(admin.store))
    valkey.admin.delete(*lost, *also)
    if stored.LOG in lost and also:  # only the record of another key is left to tell
        assert await admin.store.apply(issued("c2", OTHER_KID)) == 1
        return
    assert await admin.store.apply(issued("c2", OTHER_KID)) == 3


async def test_record_is_newer_than_all_the_rest(valkey, admin):
    """A change of a record gets a number above that record's version."""
    await admin.store.apply(issued())
    valkey.admin.hset(stored.key(KID), "version", 41)
    valkey.admin.delete(stored.SEQ, stored.LOG, stored.AUDIT)
    assert await admin.store.apply(await revoked(admin.store)) == 42


@pytest.mark.parametrize("stream", [stored.LOG, stored.AUDIT])
async def test_stream_is_newer_than_the_sequence(valkey, admin, stream):
    """A change gets a number above the highest id of log and audit, even of deleted entries."""
    await admin.store.apply(issued())
    entry = valkey.admin.xadd(stream, {"kid": KID}, id="77-3")
    valkey.admin.xdel(stream, entry)
    assert await admin.store.apply(await revoked(admin.store)) == 78


async def test_changes_at_the_same_moment(valkey, admin):
    """Concurrent changes get consecutive versions without a gap."""
    async with administration(valkey.endpoint) as second:
        made = await asyncio.gather(
            *(
                who.store.apply(issued(f"c{number}", f"{number:016}"))
                for number in range(50)
                for who in [[admin, second][number % 2]]
            )
        )
    assert sorted(made) == list(range(1, 51))
    assert [entry_id for entry_id, _ in valkey.admin.xrange(stored.LOG)] == [
        f"{number}-0" for number in range(1, 51)
    ]
