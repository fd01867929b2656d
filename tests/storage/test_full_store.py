"""A store over its `maxmemory`: rights can be taken away, nothing can be added."""

import asyncio
import shutil

import pytest
from redis.exceptions import OutOfMemoryError

from authz.core import changes
from authz.core.changes import Author
from authz.core.errors import Unavailable
from authz.core.finding import Level
from authz.core.limits.limit import parse_limits
from authz.core.records import RevocationReason, Status
from authz.flows.bulk_change import BulkChange
from authz.flows.by import By
from authz.flows.deletion import Deletion
from authz.flows.lifecycle import Changed
from authz.flows.selection import Selection
from authz.flows.usage.erasure import UsageErasure
from authz.storage.batches import StoredBatches
from authz.storage.deletions import StoredDeletions
from authz.storage.essential import RUN
from authz.storage.imports import StoredImports
from authz.storage.inspection.checks import inspect
from authz.storage.inspection.store import Store
from authz.storage.keys import StoredKeys
from authz.storage.listing import StoredIndex
from authz.storage.registry import StoredSidecars
from authz.storage.schema import DEFAULT
from authz.storage.trail import StoredRows
from authz.storage.usage.erasing import StoredEraser
from tests.support.fakes import NOW, make_keyring
from tests.support.real import RealClock, Valkey, eventually
from tests.support.storage import stored
from tests.support.storage.changing import imported, issued
from tests.support.storage.sidecar import Registered, administration
from tests.support.usage import KID


def fill(server):
    """Set `maxmemory` to 5 % below the memory in use."""
    used = server.admin.info("memory")["used_memory"]
    server.admin.config_set("maxmemory-policy", "noeviction")
    server.admin.config_set("maxmemory", int(used / 1.05))
    with pytest.raises(OutOfMemoryError):
        server.admin.set("other", "x")


@pytest.fixture(params=["valkey", "redis"])
def server(request):
    """A server of each kind."""
    if request.param == "redis" and shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    with Valkey(binary="" if request.param == "valkey" else "redis-server") as found:
        yield found


async def test_1000_revocations(server):
    """1,000 revocations on a full store are all made, and every sidecar confirms the last."""
    async with administration(server.endpoint) as admin:
        records = [await admin.issue() for _ in range(1000)]
        async with (
            Registered(server.endpoint, "web-1") as one,
            Registered(server.endpoint, "web-2") as two,
            server.endpoint.client() as client,
        ):
            await asyncio.gather(one.trusted(), two.trusted())
            fill(server)
            for record in records:
                await admin.revoke(record.kid)
            assert server.admin.get(stored.SEQ) == "2000"

            directory = StoredSidecars(client)

            async def applied():
                return [heard.sidecar.applied for heard in (await directory.find())[1]]

            await eventually(lambda: _equal(applied(), [2000, 2000]))
            last = await admin.store.find(records[-1].kid)
            assert last.status is Status.REVOKED
            assert (await one.find(last.kid)).status is Status.REVOKED
            assert (await two.find(last.kid)).status is Status.REVOKED


async def test_many_keys_are_revoked_and_deleted(server):
    """A change of many keys that takes rights away, and deletions, are made on a full store."""
    async with administration(server.endpoint) as admin, server.endpoint.client() as client:
        kids = [(await admin.issue()).kid for _ in range(20)]
        keys, clock = StoredKeys(client), RealClock()
        selection = Selection(StoredIndex(client), clock)
        bulk = BulkChange(selection, keys, StoredBatches(client), clock)
        deletion = Deletion(keys, StoredDeletions(client), StoredEraser(client), clock)
        fill(server)

        def plan(record, now, by):
            return changes.revoke(record, RevocationReason.SUPERSEDED, by, now)

        for work in (bulk.carry_out(kids, plan, By("alice")), deletion.carry_out(kids, By("bob"))):
            outcomes = [step.outcome async for batch in work for step in batch]
            assert [type(outcome) for outcome in outcomes] == [Changed] * 20
        assert server.admin.zcard(stored.KEYS) == 0
        assert len(server.admin.xrange(stored.AUDIT)) == 20


async def _equal(answer, wanted):
    return await answer == wanted


async def test_facts_about_callers_are_erased(server):
    """An erasure of usage has its row in the trail, also on a full store."""
    async with server.endpoint.client() as client:
        server.admin.hset(f"{DEFAULT.usage}{KID}", "last", "garbled, so it may hold anything")
        fill(server)
        erasure = UsageErasure(StoredEraser(client), StoredRows(client), RealClock())
        assert await erasure.erase(KID, Author("c", "alice")) == 1
        (row,) = await StoredRows(client).after("", 5)
        assert row.fields["actor"] == "alice"


async def test_disabling_and_shrinking(server):
    """A full store takes every change that only takes rights away."""
    async with administration(server.endpoint) as admin:
        first = await admin.issue(scopes=frozenset({"a:b", "b"}))
        second = await admin.issue()
        fill(server)
        assert (await admin.disable(second.kid)).status is Status.DISABLED
        author = admin.lifecycle.author("ops")
        smaller = await admin.lifecycle.update(
            first.kid, {"expires_at": NOW * 2}, author, remove_scopes=frozenset({"b"})
        )
        assert smaller.record.scopes == {"a:b"}
        limits = parse_limits("limits", ("5/s",))
        slower = await admin.lifecycle.update(first.kid, {"limits": limits}, author)
        assert slower.record.limits == limits


async def test_adding_is_refused(server):
    """An addition is refused with the memory in use and the remedy, and nothing is written."""
    async with administration(server.endpoint) as admin, server.endpoint.client() as client:
        record = await admin.issue()
        await admin.disable(record.kid)
        fill(server)
        message = r"the store is full: \d+ MiB used of \d+ MiB \(maxmemory\); raise its maxmemory"
        with pytest.raises(Unavailable, match=message):
            await admin.store.apply(issued())
        with pytest.raises(Unavailable, match=message):
            await admin.lifecycle.enable(record.kid, admin.lifecycle.author("ops"))
        imports = StoredImports(client)
        with pytest.raises(Unavailable, match="the store is full: raise its maxmemory"):
            await imports.allow_imports()
        [refused] = await imports.apply_all([imported()])
        assert "the store is full" in str(refused)
        assert server.admin.get(stored.SEQ) == "2"


async def test_a_heartbeat_behind_sentinel(own_valkey):
    """On a full store the heartbeat is still written, so a sidecar behind Sentinel keeps trust."""
    async with administration(own_valkey.endpoint):
        sidecar = Registered(own_valkey.endpoint)
        fill(own_valkey)
        async with sidecar:
            await sidecar.trusted()
            link = sidecar.feed.link
            for beat in ("1", "2"):
                replies = []
                sidecar.feed._heartbeats._writes.send(
                    link, replies.append, "SET", stored.HEARTBEAT, beat
                )
                await eventually(lambda replies=replies: replies)
                assert replies == ["OK"]
                assert own_valkey.admin.get(stored.HEARTBEAT) == beat


async def test_the_script_is_lost(own_valkey):
    """A sidecar whose script the store lost loads it again."""
    async with administration(own_valkey.endpoint), Registered(own_valkey.endpoint) as sidecar:
        await sidecar.trusted()
        fill(own_valkey)
        await eventually(lambda: own_valkey.admin.script_exists(_sha(own_valkey))[0])
        own_valkey.admin.script_flush()
        own_valkey.admin.delete(stored.sidecar("web-1"))
        await eventually(lambda: own_valkey.admin.exists(stored.sidecar("web-1")))


def _sha(server):
    return server.admin.register_script(RUN).sha


async def test_a_confirmation_of_a_replica(own_valkey):
    """Waiting for a replica works on a full store."""
    with Valkey("--replicaof", "127.0.0.1", str(own_valkey.port)):
        await eventually(lambda: own_valkey.admin.info("replication")["connected_slaves"] == 1)
        async with administration(own_valkey.endpoint) as admin, own_valkey.endpoint.client() as c:
            record = await admin.issue()
            fill(own_valkey)
            change = changes.revoke(
                record, RevocationReason.SUPERSEDED, Author("c-revoke", "ops"), NOW
            )
            store = StoredKeys(c, has_replicas=True)

            async def confirmed():
                return await store.replicas(change, await store.apply(change)) == 1

            await eventually(confirmed)


async def test_the_doctor(own_valkey):
    """A store at 95 % of its memory fails; the finding shows how much is used and the remedy."""
    async with administration(own_valkey.endpoint), own_valkey.endpoint.client() as client:
        used = own_valkey.admin.info("memory")["used_memory"]
        own_valkey.admin.config_set("maxmemory", int(used / 0.97))
        store = Store(client, make_keyring().fingerprints, 1.0, RealClock().wall_ms)
        [memory] = [finding async for finding in inspect(store) if finding.check == "memory"]
        assert memory.level is Level.FAIL
        assert "raise maxmemory" in memory.advice


async def test_the_doctor_sees_growth(own_valkey):
    """A store that will be full within two weeks is a warning, however empty it is."""
    async with administration(own_valkey.endpoint), own_valkey.endpoint.client() as client:
        entry = {"kid": "A" * 16, "status": "active", "change_id": "c"}
        own_valkey.admin.set(stored.SEQ, 1000)
        for seq, day in ((1, 0), (1000, 2)):
            at = NOW + day * 86_400_000
            own_valkey.admin.xadd(stored.LOG, entry | {"at": at}, id=f"{seq}-0")
        used = own_valkey.admin.info("memory")["used_memory"]
        own_valkey.admin.config_set("maxmemory", used * 17 // 4)  # half of `used` a day: 6.5 days
        store = Store(client, make_keyring().fingerprints, 1.0, RealClock().wall_ms)
        [memory] = [finding async for finding in inspect(store) if finding.check == "memory"]
        assert memory.level is Level.WARN
        assert "full in 6 days" in memory.found
