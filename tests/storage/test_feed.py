"""ChangeFeed: what is trusted, when it is told of changes, and what it says when it is not."""

import asyncio

import pytest

from authz.core import changes
from authz.core.changes import Author, KeySpec
from authz.core.errors import Unavailable, Unreadable
from authz.core.keys import Keyring
from authz.core.ports import Event
from authz.core.records import Status
from authz.storage import schema
from tests.fakes import KID, NOW, make_keyring, make_pepper
from tests.real import Valkey, eventually
from tests.storage.sidecar import LEASE, Sidecar, administration

# What the feed and the lookups need of a store, and no more.
PERMISSIONS = ["hello", "select", "subscribe", "ping", "role", "get", "hgetall", "exists", "xrange"]


async def test_trusted_soon_after_the_start(valkey, admin):
    """A store that is ours is trusted with the first heartbeat; records are found."""
    record = await admin.issue()
    async with Sidecar(valkey.endpoint) as sidecar:
        assert not sidecar.is_trusted
        assert sidecar.reason == "connecting"
        with pytest.raises(Unavailable):
            await sidecar.find(record.kid)

        await sidecar.trusted()

        assert sidecar.reason == ""
        assert sidecar.feed.health().seq == 1
        assert await sidecar.find(record.kid) == record
        assert sidecar.cache.peek(record.kid) == record
    assert not sidecar.is_trusted
    assert sidecar.cache.peek(record.kid) is None


async def test_no_key_of_that_kid(valkey, admin):
    """A kid that the store does not have is None, asked for once; once it is issued, it is found."""
    spec = KeySpec(client_id="acme-web", env="live", life_ms=None)
    issue = changes.issue(spec, make_keyring().mint("live", KID), Author("c1", "test"), NOW)
    async with Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        assert await sidecar.find(KID) is None
        assert await sidecar.find(KID) is None
        assert sidecar.probe.events[Event.CACHE_MISS] == 1

        await admin.store.apply(issue)
        await sidecar.caught_up(1)
        assert (await sidecar.find(KID)).kid == KID


async def test_revocation(valkey, admin):
    """A revocation takes the record out of the cache and is remembered, whatever comes later."""
    record = await admin.issue()
    before = schema.encode(record) | {"version": "1"}
    async with Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        assert (await sidecar.find(record.kid)).status is Status.ACTIVE

        await admin.revoke(record.kid)
        await sidecar.caught_up(2)
        assert sidecar.cache.peek(record.kid) is None
        assert (await sidecar.find(record.kid)).status is Status.REVOKED

        valkey.admin.hset(schema.key(record.kid), mapping=before)
        sidecar.cache.flush()
        assert (await sidecar.find(record.kid)).status is Status.REVOKED


async def test_every_change_is_told(valkey, admin):
    """Issue and disable are applied as they happen: no gap, no flush after the first."""
    async with Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        record = await admin.issue()
        assert (await sidecar.find(record.kid)).status is Status.ACTIVE
        await admin.disable(record.kid)
        await sidecar.caught_up(2)

        assert (await sidecar.find(record.kid)).status is Status.DISABLED
        assert sidecar.probe.events[Event.CHANGE_APPLIED] == 2
        assert sidecar.probe.events[Event.CHANGE_GAP] == 0
        assert sidecar.probe.events[Event.FLUSH] == 1


async def test_garbled_record(valkey, admin):
    """A record that cannot be understood is Unreadable, counted, and others are not affected."""
    garbled, good = await admin.issue(), await admin.issue()
    valkey.admin.hset(schema.key(garbled.kid), "name", b"\xff\xfe")
    async with Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        with pytest.raises(Unreadable, match=garbled.kid):
            await sidecar.find(garbled.kid)
        assert sidecar.probe.events[Event.RECORD_UNREADABLE] == 1
        assert await sidecar.find(good.kid) == good


async def test_a_key_that_is_no_hash(valkey, admin):
    """A record of another type is Unavailable, in the store's words, and nothing else breaks."""
    good = await admin.issue()
    valkey.admin.set(schema.key(KID), "text")
    async with Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        with pytest.raises(Unavailable, match="WRONGTYPE"):
            await sidecar.find(KID)
        assert await sidecar.find(good.kid) == good


@pytest.mark.parametrize(
    "notice",
    ["", "nonsense", "9 short revoked", "-1 {kid} revoked", "٣ {kid} revoked", "2 {kid}", "\udcff"],
)
async def test_garbled_notice(valkey, admin, notice):
    """A notice that cannot be understood is counted and changes nothing."""
    record = await admin.issue()
    async with Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        await sidecar.find(record.kid)
        text = notice.format(kid=record.kid).encode("utf-8", "surrogateescape")
        valkey.admin.publish(schema.CHANGES, text)
        await eventually(lambda: sidecar.probe.events[Event.CHANGE_GARBLED] == 1)

        assert sidecar.cache.peek(record.kid) == record
        assert sidecar.feed.health() == (await healthy(sidecar))
        assert sidecar.feed.health().seq == 1


async def healthy(sidecar):
    """The health once it is trusted."""
    await sidecar.trusted()
    return sidecar.feed.health()


async def test_lost_notice(valkey, admin):
    """A change whose notice was lost is noticed by the next heartbeat: all is forgotten."""
    record = await admin.issue()
    async with Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        await sidecar.find(record.kid)
        valkey.admin.hset(schema.key(record.kid), "status", "revoked")
        valkey.admin.set(schema.SEQ, "2")
        await sidecar.caught_up(2)

        assert sidecar.probe.events[Event.CHANGE_GAP] == 1
        assert (await sidecar.find(record.kid)).status is Status.REVOKED


async def test_gap_between_notices(valkey, admin):
    """A notice that is not the next one tells of others that were lost: all is forgotten."""
    record, other = await admin.issue(), await admin.issue()
    async with Sidecar(valkey.endpoint, lease=60) as sidecar:  # no second heartbeat helps
        await sidecar.trusted()
        await sidecar.find(record.kid)
        valkey.admin.set(schema.SEQ, "4")
        valkey.admin.publish(schema.CHANGES, f"4 {other.kid} active")
        await sidecar.caught_up(4)

        assert sidecar.probe.events[Event.CHANGE_GAP] == 1
        assert sidecar.cache.peek(record.kid) is None


async def test_repeated_notice(valkey, admin):
    """A notice that comes again forgets its key again, and nothing else."""
    record, other = await admin.issue(), await admin.issue()
    async with Sidecar(valkey.endpoint, lease=60) as sidecar:
        await sidecar.trusted()
        await sidecar.find(record.kid)
        await sidecar.find(other.kid)
        valkey.admin.publish(schema.CHANGES, f"1 {record.kid} active")
        await eventually(lambda: sidecar.cache.peek(record.kid) is None)

        assert sidecar.cache.peek(other.kid) == other
        assert sidecar.feed.health().seq == 2


async def test_sequence_went_back(valkey, admin):
    """A sequence that goes back is a store that was restored: counted, and all is forgotten."""
    record, _ = await admin.issue(), await admin.issue()
    async with Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        await sidecar.find(record.kid)
        valkey.admin.set(schema.SEQ, "1")
        await sidecar.caught_up(1)

        assert sidecar.probe.events[Event.SEQUENCE_WENT_BACK] == 1
        assert sidecar.cache.peek(record.kid) is None
        assert sidecar.is_trusted


@pytest.mark.parametrize("seq", ["nonsense", "-1", "1.5", "", "9" * 5000, "٣"])
async def test_garbled_sequence(valkey, admin, seq):
    """A sequence number that is none ends trust: what was missed cannot be known."""
    record = await admin.issue()
    async with Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        valkey.admin.set(schema.SEQ, seq)
        await sidecar.untrusted()
        assert "seq" in sidecar.reason

        valkey.admin.set(schema.SEQ, "1")
        await sidecar.trusted()
        assert await sidecar.find(record.kid) == record


# an emptied store, another store


async def test_emptied_store(valkey, admin):
    """An emptied store ends trust; the reason says how to set it up."""
    record = await admin.issue()
    async with Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        valkey.admin.flushall()
        await sidecar.untrusted()
        assert "authz init" in sidecar.reason
        with pytest.raises(Unavailable):
            await sidecar.find(record.kid)


async def test_emptied_store_before_any_heartbeat(valkey, admin):
    """In the moment after the store was emptied a good key is Unavailable, not unknown."""
    record = await admin.issue()
    async with Sidecar(valkey.endpoint, lease=60) as sidecar:
        await sidecar.trusted()
        valkey.admin.flushall()
        with pytest.raises(Unavailable, match="authz init"):
            await sidecar.find(record.kid)
        assert sidecar.is_trusted


async def test_key_that_appears_between_two_looks(valkey, admin):
    """A key that is issued while its absence is being confirmed is found."""
    record = await admin.issue()
    found = valkey.admin.hgetall(schema.key(record.kid))
    valkey.admin.delete(schema.key(record.kid))
    delivered = []
    async with Sidecar(valkey.endpoint, lease=60) as sidecar:
        await sidecar.trusted()
        link = sidecar.feed.link
        sidecar.source.load(record.kid, delivered.append)
        link.send(lambda _reply: valkey.admin.hset(schema.key(record.kid), mapping=found), "PING")
        await eventually(lambda: delivered)
    assert delivered == [record]


async def test_overload_while_absence_is_confirmed(valkey, admin):
    """A lookup that the link refuses half way leaves the link as it was."""
    record = await admin.issue()
    delivered = []
    async with Sidecar(valkey.endpoint, lease=60) as sidecar:
        await sidecar.trusted()
        link = sidecar.feed.link
        for room in (0, 1, 2, 3):
            link._max_pending = 10
            sidecar.source.load(KID, delivered.append)
            for _ in range(9):
                link.send(lambda _reply: None, "PING")
            link._max_pending = 9 + room
            await eventually(lambda expected=room + 1: len(delivered) == expected)
            link._max_pending = 100
            assert await link.call("ECHO", "in step") == "in step"
        assert await sidecar.find(record.kid) == record
    assert all(answer is None or isinstance(answer, Unavailable) for answer in delivered)


def other_keyring():
    """Of the same version, with another pepper."""
    return Keyring("ak", [make_pepper("1", b"another pepper of 32 bytes or so")])


async def test_other_pepper(valkey, admin):
    """A store whose keys were made with another pepper is not trusted; no tag proves a forgery."""
    async with Sidecar(valkey.endpoint, keyring=other_keyring()) as sidecar:
        await eventually(lambda: "pepper 1 is not the one" in sidecar.reason)
        assert not sidecar.is_trusted
        assert not sidecar.feed.refutes("1")
        assert not sidecar.feed.refutes("2")


async def test_other_schema(valkey, admin):
    """A store of a newer schema is not trusted."""
    valkey.admin.hset(schema.META, schema.META_SCHEMA, "2")
    async with Sidecar(valkey.endpoint) as sidecar:
        await eventually(lambda: "schema" in sidecar.reason)
        assert not sidecar.is_trusted
        assert not sidecar.feed.refutes("1")


async def test_store_that_was_not_set_up(valkey):
    """A store without authz:meta is not trusted; once it is set up, it is."""
    async with Sidecar(valkey.endpoint) as sidecar:
        await eventually(lambda: "authz init" in sidecar.reason)
        async with administration(valkey.endpoint):
            await sidecar.trusted()


async def test_refutes(valkey):
    """A tag that fails proves a forgery under a pepper that we share with the store only."""
    async with administration(valkey.endpoint, make_keyring("ak", "1", "2")):
        async with Sidecar(valkey.endpoint, keyring=make_keyring("ak", "1", "3")) as sidecar:
            assert not sidecar.feed.refutes("1")
            await sidecar.trusted()
            assert sidecar.feed.refutes("1")
            assert not sidecar.feed.refutes("2")  # theirs, not ours: we cannot tell
            assert sidecar.feed.refutes("3")  # ours, not theirs: no key has it
            assert sidecar.feed.refutes("x")

        assert sidecar.feed.refutes("1")  # also while the store cannot be reached
        assert not sidecar.feed.refutes("x")  # it may have got a pepper meanwhile


async def test_refutes_no_more_when_the_store_was_replaced(valkey, admin):
    """With other peppers in the store, a tag that fails under ours proves nothing any more."""
    async with Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        assert sidecar.feed.refutes("1")
        valkey.admin.flushall()
        async with administration(valkey.endpoint, other_keyring()):
            await sidecar.untrusted()
            assert not sidecar.feed.refutes("1")


# permissions


def restrict(valkey, *, without="", channel=True):
    """Make the user `sidecar`, with all the permissions it needs but one."""
    allowed = [f"+{name}" for name in PERMISSIONS if name != without]
    channels = [f"&{schema.CHANGES}"] if channel else []
    rules = ["reset", "on", ">secret", "%R~authz:*", *channels, "-@all", *allowed]
    valkey.admin.execute_command("ACL", "SETUSER", "sidecar", *rules)
    return valkey.login("sidecar", "secret")


async def test_permissions(valkey, admin):
    """These permissions are enough, and nothing else is asked for."""
    record = await admin.issue()
    async with Sidecar(restrict(valkey)) as sidecar:
        await sidecar.trusted()
        assert await sidecar.find(record.kid) == record
        assert await sidecar.find(KID) is None
    assert valkey.admin.acl_log() == []


@pytest.mark.parametrize("missing", ["subscribe", "ping", "role", "get", "hgetall"])
async def test_missing_permission(valkey, admin, missing):
    """Without one of them the store is not trusted, and the reason names it."""
    async with Sidecar(restrict(valkey, without=missing)) as sidecar:
        await eventually(lambda: "NOPERM" in sidecar.reason and missing in sidecar.reason)
        assert not sidecar.is_trusted


async def test_missing_permission_for_the_channel(valkey, admin):
    """Without the channel the store is not trusted, and the reason says so."""
    async with Sidecar(restrict(valkey, channel=False)) as sidecar:
        await eventually(lambda: "NOPERM" in sidecar.reason and "channel" in sidecar.reason)
        assert not sidecar.is_trusted


async def test_wrong_password(valkey, admin):
    """A wrong password is the reason; once it is right, the store is trusted."""
    restrict(valkey)
    endpoint = valkey.login("sidecar", "wrong")
    async with Sidecar(endpoint) as sidecar:
        await eventually(lambda: "WRONGPASS" in sidecar.reason)
        endpoint.password_file.write_bytes(b"\xff")
        await eventually(lambda: "not a text file" in sidecar.reason)
        endpoint.password_file.write_text("secret")
        await sidecar.trusted()


# replicas


async def test_replica(own_valkey, own_admin):
    """A replica is never trusted, however well it answers."""
    with Valkey("--replicaof", "127.0.0.1", str(own_valkey.port)) as replica:
        async with Sidecar(replica.endpoint) as sidecar:
            await eventually(lambda: "only the primary can be trusted" in sidecar.reason)
            assert not sidecar.is_trusted


async def test_primary_that_becomes_a_replica(valkey, own_valkey, own_admin):
    """A primary that is made a replica while linked is not trusted from then on."""
    async with Sidecar(own_valkey.endpoint) as sidecar:
        await sidecar.trusted()
        own_valkey.admin.replicaof("127.0.0.1", valkey.port)
        await eventually(lambda: "only the primary can be trusted" in sidecar.reason)
        assert not sidecar.is_trusted

        own_valkey.admin.replicaof("NO", "ONE")
        async with administration(own_valkey.endpoint):
            await sidecar.trusted()
