"""A store behind Sentinel: which primary is trusted, and for how long."""

import asyncio
from functools import partial

import pytest
import redis

from authz.core import changes
from authz.core.changes import Author
from authz.core.errors import OutcomeUnknown, Unavailable
from authz.core.events import Event
from authz.core.listen_address import Address
from authz.core.new_keys import KeySpec
from authz.core.records import Status
from authz.storage.endpoint import Endpoint
from authz.storage.feed import CONNECTION_NAME
from authz.storage.heartbeats import NOT_ACKNOWLEDGED
from authz.storage.keys import StoredKeys
from authz.storage.sentinel import Sentinel
from tests.support.failover import SERVICE, Replicated
from tests.support.fakes import NOW
from tests.support.gate import LOSE, PASS, Gate, closed_to_all_but
from tests.support.real import eventually, free_port
from tests.support.stalls import conclusively
from tests.support.storage import stored
from tests.support.storage.scripted import scripted_store
from tests.support.storage.sidecar import LEASE, Sidecar, administration

SPEC = KeySpec(client_id="acme-web", env="live", life_ms=None)


@pytest.fixture
async def store():
    """A primary, two replicas and a Sentinel."""
    async with Replicated() as found:
        yield found


def refuses_writes(valkey):
    """Return whether the server refuses writes because no replica follows it."""
    try:
        valkey.admin.set("probe", "1")
    except redis.ResponseError as refusal:
        return "NOREPLICAS" in str(refusal)
    return False


async def revoked(admin, kid):
    """Revoke a key; retry, because a failover closes connections for a while."""
    try:
        return (await admin.revoke(kid)).status is Status.REVOKED
    except Unavailable:
        return False


async def issued(admin):
    """Issue a key; retry, because a primary with late replicas refuses changes."""
    try:
        return await admin.issue()
    except Unavailable:
        return None


async def followed(store, seq):
    """Wait until every replica has this change, so that a failover cannot lose it."""
    await eventually(lambda: {each.admin.get(stored.SEQ) for each in store.replicas} == {str(seq)})


async def test_killed_primary(store):
    """When a replica takes over, it is found, and the log bridges the gap without a flush."""
    async with administration(store.endpoint) as admin, Sidecar(store.endpoint) as sidecar:
        record, other = [await eventually(partial(issued, admin)) for _ in range(2)]
        await sidecar.trusted()
        await eventually(lambda: sidecar.feed._follower._position.mark)
        await sidecar.find(record.kid)
        await sidecar.find(other.kid)
        await followed(store, 2)
        store.primary.kill()
        heir = await store.failed_over()
        await eventually(partial(revoked, admin, record.kid))
        await sidecar.caught_up(3)
        await sidecar.trusted()

        assert heir.admin.get(stored.SEQ) == "3"
        assert (await sidecar.find(record.kid)).status is Status.REVOKED
        await sidecar.holds(other)
        assert sidecar.probe.events[Event.FLUSH] == 1


async def test_isolated_primary(store):
    """A primary that is isolated from its replicas, but not from us, soon loses trust.

    It still claims to be the primary and answers heartbeats. It loses trust because it refuses
    writes.
    """
    async with administration(store.endpoint) as admin, Sidecar(store.endpoint) as sidecar:
        record = await eventually(partial(issued, admin))
        await sidecar.trusted()
        await sidecar.find(record.kid)
        await followed(store, 1)
        link = sidecar.feed.link
        store.gate.set(closed_to_all_but(CONNECTION_NAME))
        await eventually(lambda: refuses_writes(store.primary))
        refused = served = now = sidecar.clock.monotonic()
        assert store.primary.admin.role()[0] == "master"
        while sidecar.feed.link is link and sidecar.cache.peek(record.kid):
            served = now
            await asyncio.sleep(0)
            now = sidecar.clock.monotonic()
        assert served < refused + LEASE

        await store.failed_over()
        async with administration(store.endpoint) as heirs:
            await eventually(partial(revoked, heirs, record.kid))
        await sidecar.caught_up(2)
        await sidecar.trusted()
        assert (await sidecar.find(record.kid)).status is Status.REVOKED


async def test_isolated_primary_that_was_not_told_to_stop(store):
    """Without min-replicas-to-write an isolated primary loses trust by missing acknowledgements.

    A reconnecting sidecar does not trust it either until a replica follows it again.
    """
    async with administration(store.endpoint) as admin, Sidecar(store.endpoint) as sidecar:
        record = await eventually(partial(issued, admin))
        await sidecar.trusted()
        await sidecar.find(record.kid)
        for valkey in (store.primary, *store.replicas):
            valkey.admin.config_set("min-replicas-to-write", 0)
        for replica in store.replicas:
            replica.pause()

        await eventually(lambda: NOT_ACKNOWLEDGED in sidecar.reason)
        assert not sidecar.is_trusted
        assert sidecar.cache.peek(record.kid) is None
        links = sidecar.probe.events[Event.LINK_CONNECTED]
        await eventually(lambda: sidecar.probe.events[Event.LINK_CONNECTED] > links)
        assert not sidecar.is_trusted
        assert store.primary.admin.set("probe", "1")

        for replica in store.replicas:
            replica.resume()
        await sidecar.trusted()


async def test_primary_without_replicas(store):
    """A primary whose replicas are gone loses trust with that reason, and recovers by itself."""
    async with administration(store.endpoint) as admin, Sidecar(store.endpoint) as sidecar:
        record = await eventually(partial(issued, admin))
        await sidecar.trusted()
        for replica in store.replicas:
            replica.pause()
        await eventually(lambda: "(NOREPLICAS); see to them" in sidecar.reason)
        assert not sidecar.is_trusted
        with pytest.raises(Unavailable, match="NOREPLICAS"):
            await admin.revoke(record.kid)

        for replica in store.replicas:
            replica.resume()
        await sidecar.trusted()
        assert (await sidecar.find(record.kid)).status is Status.ACTIVE


async def test_replicas_that_have_a_change(store, own_valkey):
    """A change reports how many replicas have it; without Sentinel it reports nothing."""
    async with administration(store.endpoint) as admin:
        await eventually(partial(issued, admin))
        changed = await conclusively(
            lambda: admin.lifecycle.issue(SPEC, admin.lifecycle.author("test")),
            lambda changed: changed.replicas,
        )
        assert changed.replicas in {1, 2}
        assert changed.key_text
    async with administration(own_valkey.endpoint) as admin:
        changed = await admin.lifecycle.issue(SPEC, admin.lifecycle.author("test"))
        assert changed.replicas is None


async def test_change_that_no_replica_has(store):
    """A change that no replica confirms in time is made and reported with 0 replicas."""

    async def play():
        for replica in store.replicas:
            replica.resume()
        record = await eventually(partial(issued, admin))
        for replica in store.replicas:
            replica.pause()
        try:
            return await admin.lifecycle.disable(record.kid, admin.lifecycle.author("test"))
        except Unavailable:
            return None  # it came so late that the primary missed them

    async with administration(store.endpoint) as admin:
        disabled = await conclusively(play, bool)
        assert disabled.replicas == 0
        assert disabled.record.status is Status.DISABLED


async def test_change_that_a_failover_lost(valkey, admin):
    """A change that a failover lost is not confirmed."""
    change = changes.disable(await admin.issue(), Author("c-disable", "test"), NOW)
    async with valkey.endpoint.client() as client:
        store = StoredKeys(client, has_replicas=True)
        version = await store.apply(change)
        assert await store.replicas(change, version) == 0
        valkey.admin.xdel(stored.LOG, f"{version}-0")
        with pytest.raises(OutcomeUnknown, match="failover"):
            await store.replicas(change, version)


async def test_sentinel_that_names_a_dead_host(store):
    """While the Sentinel names a dead host, it is asked again, with growing pauses.

    Without pauses there would be hundreds of questions in this time.
    """

    def asked():
        return store.monitor.info("stats")["total_connections_received"]

    dead = free_port()
    store.monitor.execute_command("SENTINEL", "REMOVE", SERVICE)
    store.monitor.execute_command("SENTINEL", "MONITOR", SERVICE, "127.0.0.1", str(dead), "1")
    async with Sidecar(store.endpoint) as sidecar:
        await eventually(lambda: sidecar.reason and "connecting" not in sidecar.reason)
        before = asked()
        await eventually(lambda: asked() >= before + 3)
        before = asked()
        await asyncio.sleep(LEASE)
        assert asked() < before + 20
        assert not sidecar.is_trusted
        assert SERVICE in sidecar.reason

        store.monitor.execute_command("SENTINEL", "REMOVE", SERVICE)
        store.monitor.execute_command(
            "SENTINEL", "MONITOR", SERVICE, "127.0.0.1", str(store.gate.port), "1"
        )
        async with administration(store.endpoint):
            await sidecar.trusted()


async def test_sentinel_that_does_not_know_the_service(own_valkey):
    """A server that is not a Sentinel, and one without the service, are the reason shown."""
    hosts = (Address("127.0.0.1", own_valkey.port), Address("127.0.0.1", free_port()))
    endpoint = Endpoint.parse("redis://unused", sentinel=Sentinel(hosts, "other"))
    async with Sidecar(endpoint) as sidecar:
        await eventually(lambda: "no Sentinel names a primary" in sidecar.reason)
    with pytest.raises(Unavailable):
        async with administration(endpoint):
            pass


async def test_one_sentinel_that_hangs(store):
    """A hanging Sentinel costs only a moment, then the next one is asked."""

    async def silence(peer):
        await peer.commands(1000)

    async with scripted_store(silence) as hung:
        hosts = (Address("127.0.0.1", hung.port), Address("127.0.0.1", store.sentinel_port))
        endpoint = Endpoint.parse("redis://unused", sentinel=Sentinel(hosts, SERVICE))
        async with administration(endpoint), Sidecar(endpoint, lease=1) as sidecar:
            await sidecar.trusted()


async def test_stop_while_a_sentinel_is_asked(own_valkey):
    """The feed can be cancelled while it asks a Sentinel, even if redis-py swallows that."""
    async with Gate(own_valkey.port) as gate:
        sentinel = Sentinel((Address("127.0.0.1", gate.port),), SERVICE)
        endpoint = Endpoint.parse("redis://unused", sentinel=sentinel)
        for attempt in range(200):
            gate.set(lambda _name, lose=attempt % 2: (LOSE, PASS) if lose else (PASS, PASS))
            asking = asyncio.create_task(sentinel.primary(endpoint._dial))
            for _ in range(attempt % 25):
                await asyncio.sleep(0)
            stopped = asking.cancel()
            await asyncio.wait([asking])
            assert asking.cancelled() or not stopped


async def test_half_open_towards_the_store(own_valkey, own_admin):
    """A link on which only our messages get lost is dropped within a lease."""
    record = await own_admin.issue()
    async with Gate(own_valkey.port) as gate:
        endpoint = Endpoint.parse(f"redis://127.0.0.1:{gate.port}")
        async with Sidecar(endpoint) as sidecar:
            await sidecar.trusted()
            await sidecar.find(record.kid)
            gate.set(lambda _name: (LOSE, PASS))
            await eventually(lambda: "not answer" in sidecar.reason)
            assert sidecar.cache.peek(record.kid) is None
            gate.set(lambda _name: (PASS, PASS))
            await sidecar.trusted()
