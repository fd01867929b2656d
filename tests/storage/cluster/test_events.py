"""Events of a real cluster: a changed key is never answered by its old state after the lease."""

import asyncio
import shutil
from contextlib import asynccontextmanager
from functools import partial

import pytest

from authz.core.changes import Unchanged
from authz.core.errors import Unavailable
from authz.core.events import Event
from authz.core.new_keys import KeySpec
from authz.core.records import RevocationReason, Status
from authz.storage.endpoint import Endpoint
from authz.storage.heartbeats import NOT_ACKNOWLEDGED
from tests.support.cluster import NAMES, SLOT, Cluster
from tests.support.fakes import KID
from tests.support.real import eventually
from tests.support.storage.sidecar import LEASE, Sidecar, administration

REDIS = shutil.which("redis-server")
SERVERS = [
    pytest.param("", id="valkey"),
    pytest.param(
        REDIS, id="redis", marks=pytest.mark.skipif(not REDIS, reason="redis-server is needed")
    ),
]


@asynccontextmanager
async def running(**options):
    """Yield a cluster, its administration and a sidecar that has two keys in its cache."""
    async with (
        Cluster(**options) as cluster,
        administration(cluster.endpoint) as admin,
        Sidecar(cluster.endpoint) as sidecar,
    ):
        cluster.keys = [await eventually(partial(issued, admin)) for _ in range(2)]
        await sidecar.trusted()
        for record in cluster.keys:
            assert await sidecar.find(record.kid) == record
        yield cluster, admin, sidecar


async def issued(admin):
    """Issue a key; None if the store does not take it now."""
    try:
        return await admin.issue()
    except Unavailable:
        return None


async def confirmed(admin, kid):
    """Revoke a key. Return whether a replica has it; False if the store does not take it now.

    If an earlier try was made and its reply was lost, a later change shows it: replicas follow in
    order.
    """
    flow = admin.lifecycle
    author = flow.author("test")
    try:
        changed = await flow.revoke(kid, RevocationReason.UNSPECIFIED, author)
        if isinstance(changed, Unchanged):
            changed = await flow.issue(
                KeySpec(client_id="acme-web", env="live", life_ms=None), author
            )
    except Unavailable:
        return False
    return bool(changed.replicas)


async def revoked_in_time(admin, sidecar, kid):
    """Revoke a key for certain, and check that it is served for at most the lease after that."""
    serving = asyncio.create_task(sidecar.last_served(kid))
    await eventually(partial(confirmed, admin, kid))
    at = sidecar.clock.monotonic()
    assert await serving < at + LEASE
    assert (await sidecar.find(kid)).status is Status.REVOKED


@pytest.mark.parametrize("binary", SERVERS)
async def test_issue_check_revoke(binary):
    """On a cluster keys are issued, checked and revoked, and absence is proven."""
    async with running(binary=binary) as (cluster, admin, sidecar):
        record, other = cluster.keys
        assert await sidecar.find(KID) is None
        await revoked_in_time(admin, sidecar, record.kid)
        await sidecar.holds(other)
        assert cluster.owner.admin.exists(NAMES.meta)
        assert [node.ask("DBSIZE") for node in cluster.others] == [0, 0]


@pytest.mark.parametrize("binary", SERVERS)
async def test_failover(binary):
    """After an ordered failover the log bridges the gap without a flush."""
    async with running(binary=binary) as (cluster, admin, sidecar):
        record, other = cluster.keys
        await eventually(lambda: sidecar.feed._follower._position.mark)
        await cluster.fail_over()
        await revoked_in_time(admin, sidecar, record.kid)
        await sidecar.holds(other)
        assert sidecar.probe.events[Event.FLUSH] == 1


@pytest.mark.parametrize("binary", SERVERS)
async def test_takeover(binary):
    """A takeover, which asks nobody, may lose the last changes; the sidecar follows it."""
    async with running(binary=binary) as (cluster, admin, sidecar):
        record, _ = cluster.keys
        cluster.replicas[0].ask("CLUSTER", "FAILOVER", "TAKEOVER")
        await eventually(lambda: cluster.replicas[0].owns_slot and not cluster.owner.is_primary)
        await revoked_in_time(admin, sidecar, record.kid)


@pytest.mark.parametrize("binary", SERVERS)
async def test_killed_primary(binary):
    """A replica is promoted, the other one follows it, and trust comes back."""
    async with running(binary=binary, replicas=2) as (cluster, admin, sidecar):
        record, other = cluster.keys
        cluster.owner.kill()
        await sidecar.untrusted()
        assert sidecar.cache.peek(record.kid) is None
        await cluster.owned_by_another(cluster.owner)
        await revoked_in_time(admin, sidecar, record.kid)
        await sidecar.find(other.kid)


async def test_killed_primary_with_one_replica():
    """The promoted replica has no replica itself: nobody is trusted until one joins."""
    async with running() as (cluster, admin, sidecar):
        record, _ = cluster.keys
        cluster.owner.kill()
        await cluster.owned_by_another(cluster.owner)
        await eventually(lambda: NOT_ACKNOWLEDGED in sidecar.reason)
        assert not sidecar.is_trusted
        await asyncio.to_thread(cluster.owner.start)
        await revoked_in_time(admin, sidecar, record.kid)


@pytest.mark.parametrize("binary", SERVERS)
async def test_isolated_primary(binary):
    """A primary that is cut off from the cluster, but not from us, loses trust in time.

    It answers our reads and says that it is the primary, and a replica is promoted.
    """
    async with running(binary=binary, replicas=2, is_gated=True) as (cluster, admin, sidecar):
        record, other = cluster.keys
        for node in cluster.nodes:
            node.ask("CONFIG", "SET", "cluster-allow-reads-when-down", "yes")
        cluster.isolate()
        at = sidecar.clock.monotonic()
        assert await sidecar.last_served(other.kid) < at + LEASE + 2.5
        await cluster.owned_by_another(cluster.owner)
        await revoked_in_time(admin, sidecar, record.kid)
        assert cluster.owner.is_primary
        assert cluster.owner.ask("HGET", NAMES.key(record.kid), "status") == "active"
        cluster.reunite()
        await eventually(lambda: not cluster.owner.is_primary)
        assert (await sidecar.find(record.kid)).status is Status.REVOKED


async def test_slot_that_moves_in_one_step():
    """After an atomic migration the sidecar follows the slot; no change is missed."""
    async with running() as (cluster, admin, sidecar):
        record, other = cluster.keys
        await eventually(lambda: sidecar.feed._follower._position.mark)
        target = cluster.others[0]
        move = ("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", SLOT, SLOT, "NODE", target.node_id)
        moved = cluster.owner.ask(*move)
        assert moved == "OK", moved
        await eventually(lambda: target.owns_slot)
        await revoked_in_time(admin, sidecar, record.kid)
        await sidecar.holds(other)
        assert sidecar.probe.events[Event.FLUSH] == 1


@pytest.mark.parametrize("binary", SERVERS)
async def test_slot_that_moves_key_by_key(binary):
    """While the keys of the slot move, a key is unavailable and never unknown."""
    async with running(binary=binary) as (cluster, admin, sidecar):
        (record, other), source, target = cluster.keys, cluster.owner, cluster.others[0]
        unread = await admin.issue()
        target.ask("CLUSTER", "SETSLOT", SLOT, "IMPORTING", source.node_id)
        source.ask("CLUSTER", "SETSLOT", SLOT, "MIGRATING", target.node_id)
        with pytest.raises(Unavailable):
            await sidecar.cache.find(KID)
        await cluster.migrate(source, target, NAMES.key(unread.kid))
        for kid in (unread.kid, KID):
            with pytest.raises(Unavailable):
                await sidecar.cache.find(kid)
        while names := source.ask("CLUSTER", "GETKEYSINSLOT", SLOT, 100):
            await cluster.migrate(source, target, *names)
        await eventually(lambda: "moved" in sidecar.reason)
        assert not await confirmed(admin, record.kid)
        await cluster.end_move(target)
        await revoked_in_time(admin, sidecar, record.kid)
        assert await sidecar.find(other.kid) == other
        assert await sidecar.find(unread.kid) == unread
        assert await sidecar.find(KID) is None


async def test_another_shard_is_lost():
    """With cluster-require-full-coverage no, the loss of another shard changes nothing for us."""
    async with running() as (cluster, admin, sidecar):
        record, other = cluster.keys
        lost = cluster.others[0]
        for node in cluster.shard_of(lost):
            node.kill()
        await eventually(lambda: "cluster_slots_fail:5" in cluster.owner.ask("CLUSTER", "INFO"))
        assert cluster.owner.owns_slot
        await revoked_in_time(admin, sidecar, record.kid)
        assert await sidecar.find(other.kid) == other
        assert sidecar.probe.events[Event.FLUSH] == 1


async def test_majority_is_lost():
    """Without most primaries the cluster is down: no trust, and a reason that names it."""
    async with running() as (cluster, admin, sidecar):
        record, _ = cluster.keys
        for node in cluster.others:
            node.pause()
        await eventually(lambda: "the cluster is down" in sidecar.reason)
        assert not sidecar.is_trusted
        assert sidecar.cache.peek(record.kid) is None
        assert not await confirmed(admin, record.kid)
        for node in cluster.others:
            node.resume()
        await revoked_in_time(admin, sidecar, record.kid)


async def test_reads_of_a_cluster_that_is_down():
    """With cluster-allow-reads-when-down yes, the refused write of a heartbeat ends trust."""
    async with running() as (cluster, _, sidecar):
        for node in cluster.nodes:
            node.ask("CONFIG", "SET", "cluster-allow-reads-when-down", "yes")
        for node in cluster.others:
            node.pause()
        await eventually(lambda: "the cluster is down" in sidecar.reason)
        assert cluster.owner.ask("EXISTS", NAMES.meta) == 1
        assert not sidecar.is_trusted
        for node in cluster.others:
            node.resume()
        await sidecar.trusted()


async def test_replicas_that_do_not_acknowledge():
    """A primary that no replica follows loses trust within the lease and 2 seconds."""
    async with running() as (cluster, admin, sidecar):
        record, _ = cluster.keys
        cluster.replicas[0].pause()
        at = sidecar.clock.monotonic()
        assert await sidecar.last_served(record.kid) < at + LEASE + 2.5
        await eventually(lambda: NOT_ACKNOWLEDGED in sidecar.reason)
        assert not await confirmed(admin, record.kid)
        cluster.replicas[0].resume()
        await sidecar.trusted()


async def test_node_that_comes_and_node_that_goes():
    """A new node gets the slot; the old one is forgotten and reset, and stays among the seeds."""
    async with running(spare=2) as (cluster, admin, sidecar):
        (record, other), source, (target, replica) = cluster.keys, cluster.owner, cluster.spare
        replica.ask("CLUSTER", "REPLICATE", target.node_id)
        await cluster.move_slot(source, target)
        await revoked_in_time(admin, sidecar, record.kid)

        gone = cluster.shard_of(source)
        ids = [node.node_id for node in gone]
        for node in cluster.nodes:
            for one in ids if node not in gone else ():
                node.ask("CLUSTER", "FORGET", one)
        for node in gone:
            node.ask("FLUSHALL")
            node.ask("CLUSTER", "RESET", "HARD")
        for _ in range(5):
            sidecar.feed.link.abort()
            await sidecar.trusted()
        assert await sidecar.find(other.kid) == other


async def test_slot_without_an_owner():
    """If no node serves the slot, nothing is trusted, and the reason says so."""
    async with running() as (cluster, _, sidecar):
        record, _ = cluster.keys
        for node in cluster.nodes:
            node.ask("CLUSTER", "DELSLOTS", SLOT)
        await eventually(lambda: "no node serves" in sidecar.reason)
        assert sidecar.cache.peek(record.kid) is None
        with pytest.raises(Unavailable, match="no node serves"):
            async with administration(cluster.endpoint):
                pass
        cluster.owner.ask("CLUSTER", "ADDSLOTS", SLOT)
        await sidecar.trusted()
        assert (await sidecar.find(record.kid)) == record


async def test_client_that_follows_the_slot():
    """A client of administration reaches the new owner at its first command."""
    async with running() as (cluster, admin, _):
        record, _ = cluster.keys
        await cluster.fail_over()
        await eventually(lambda: not cluster.owner.is_primary)
        assert await admin.store.find(record.kid) == record


async def test_functions_after_a_move():
    """`authz init` loads the functions on every primary, so they are there after a move."""
    async with running() as (cluster, admin, _):
        assert await admin.store.load_functions() == ""
        loaded = [len(node.admin.execute_command("FUNCTION", "LIST")) for node in cluster.primaries]
        assert loaded == [3, 3, 3]
        cluster.others[0].kill()
        problem = await admin.store.load_functions()
        assert str(cluster.others[0].port) in problem


async def test_store_that_is_no_cluster(valkey):
    """A single store with `redis.cluster` is refused in one line, and the reverse."""
    where = Endpoint.parse(f"redis+cluster://127.0.0.1:{valkey.port}")
    async with Sidecar(where) as sidecar:
        await eventually(lambda: "the store is no cluster" in sidecar.reason)
    with pytest.raises(Unavailable, match=r"the store is no cluster; remove redis\.cluster"):
        async with administration(where):
            pass


async def test_cluster_that_is_taken_for_a_single_store():
    """Without the setting a cluster is refused in one line."""
    async with Cluster(replicas=0) as cluster:
        where = cluster.owner.endpoint
        async with Sidecar(where) as sidecar:
            await eventually(lambda: "set redis.cluster: true" in sidecar.reason)
        with pytest.raises(Unavailable, match=r"set redis\.cluster: true"):
            async with administration(where):
                pass
