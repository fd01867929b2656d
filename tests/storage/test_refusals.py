"""Refusals of a real store: each is one line with cause and remedy, and is over by itself."""

import asyncio
import logging
import shutil
import threading
import time
from functools import partial

import pytest
import redis

from authz.core.errors import Unavailable
from authz.core.events import Event
from authz.core.finding import Level
from authz.core.records import Status
from authz.process.clock import SystemClock
from authz.storage.meta_watch import MetaWatch
from authz.storage.refusals import refusal
from authz.storage.replies import checked
from tests.support.fakes import make_keyring
from tests.support.real import Valkey, eventually
from tests.support.storage.inspection import report
from tests.support.storage.sidecar import LEASE, Registered, Sidecar, administration

DISK = "it cannot write to its disk (MISCONF); make room there"
BUSY = "a script keeps it busy (BUSY); end it with SCRIPT KILL"
CLIENTS = "it has its max number of clients; raise its maxclients"


@pytest.fixture(params=["valkey", "redis"])
def server(request):
    """A server of each kind, with snapshots."""
    if request.param == "redis" and shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    binary = "" if request.param == "valkey" else "redis-server"
    options = ("--save", "3600 1", "--enable-protected-configs", "yes")
    with Valkey(*options, binary=binary) as found:
        yield found


async def lose_disk(server):
    """Let the next snapshot fail: its directory is gone. Return the directory."""
    folder = server.directory / "disk"
    folder.mkdir()
    server.admin.config_set("dir", str(folder))
    folder.rmdir()
    server.admin.bgsave()
    await eventually(lambda: server.admin.info("persistence")["rdb_last_bgsave_status"] == "err")
    return folder


async def test_store_without_its_disk(server):
    """A store that cannot write to its disk is read and trusted; a change names the cause."""
    async with administration(server.endpoint) as admin, Sidecar(server.endpoint) as sidecar:
        known, other = await admin.issue(), await admin.issue()
        await sidecar.trusted()
        folder = await lose_disk(server)
        beats = sidecar.probe.events[Event.LINK_LOST]
        told = sidecar.feed.health().trust_age
        await eventually(lambda: sidecar.feed.health().trust_age < told)  # by a later heartbeat
        assert await sidecar.find(other.kid) == other
        with pytest.raises(Unavailable) as refused:
            await admin.revoke(known.kid)
        assert DISK in str(refused.value)
        assert "script:" not in str(refused.value)
        assert sidecar.is_trusted
        assert sidecar.probe.events[Event.LINK_LOST] == beats

        found = await report(server.endpoint)
        assert "store" not in found
        assert found["persistence"].level is Level.FAIL
        assert found["latency"].found.endswith("median of 21")
        folder.mkdir()
        server.admin.config_set("dir", str(folder))
        server.admin.save()
        await admin.revoke(known.kid)
        assert (await sidecar.find(known.kid)).status is Status.REVOKED


async def test_busy_store(server, caplog):
    """While a script keeps the store busy, the reason stays the same, and it heals by itself."""
    caplog.set_level(logging.INFO, "authz.store")
    async with administration(server.endpoint) as admin, Sidecar(server.endpoint) as sidecar:
        record = await admin.issue()
        await sidecar.find(record.kid)
        server.admin.config_set("busy-reply-threshold", 1)
        script = threading.Thread(target=_endless, args=(server.port,))
        script.start()
        await eventually(lambda: BUSY in sidecar.reason)
        caplog.clear()
        lost = sidecar.probe.events[Event.LINK_LOST]
        await eventually(lambda: sidecar.probe.events[Event.LINK_LOST] > lost + 3)
        assert not sidecar.is_trusted
        assert caplog.messages == []

        async with server.endpoint.client() as client:
            with pytest.raises(Unavailable) as refused:
                await checked(client.ping(), "check redis.url")
        assert str(refused.value).startswith(f"the store cannot be used: {BUSY}")
        assert "redis.url" not in str(refused.value)
        server.admin.script_kill()
        script.join()
        assert await sidecar.find(record.kid) == record


def _endless(port):
    with redis.Redis(port=port) as client, pytest.raises(redis.ResponseError):
        client.eval("while true do end", 0)


async def test_too_many_clients(server, caplog):
    """A store with too many clients is one reason, however often it is told, with the remedy."""
    async with administration(server.endpoint) as admin, Sidecar(server.endpoint) as sidecar:
        record = await admin.issue()
        await sidecar.find(record.kid)
        server.admin.config_set("maxclients", 1)
        server.admin.client_kill_filter(skipme=True)
        await eventually(lambda: CLIENTS in sidecar.reason)
        caplog.clear()
        lost = sidecar.probe.events[Event.LINK_LOST]
        await eventually(lambda: sidecar.probe.events[Event.LINK_LOST] > lost + 5)
        assert caplog.messages == []

        server.admin.config_set("maxclients", 100)
        assert await sidecar.find(record.kid) == record


async def test_few_replicas_and_a_replica(server):
    """A store that waits for replicas, and a replica, refuse a change with the remedy."""
    async with administration(server.endpoint) as admin:
        record = await admin.issue()
        server.admin.config_set("min-replicas-to-write", 1)
        with pytest.raises(Unavailable, match=r"\(NOREPLICAS\); see to them$"):
            await admin.revoke(record.kid)
        server.admin.config_set("min-replicas-to-write", 0)
        server.admin.replicaof("127.0.0.1", 1)
        with pytest.raises(Unavailable, match=r"\(READONLY\); point redis.url at the primary$"):
            await admin.revoke(record.kid)
        server.admin.config_set("replica-serve-stale-data", "no")
        with pytest.raises(Unavailable, match=r"\(MASTERDOWN\); point redis.url at the primary$"):
            await admin.revoke(record.kid)
        server.admin.config_set("replica-serve-stale-data", "yes")


async def test_renamed_command():
    """A store without a command that we need names the command and the remedy."""
    with Valkey("--rename-command", "HGETALL", "") as server:
        async with server.endpoint.client() as client:
            with pytest.raises(Unavailable, match="'HGETALL'; remove its rename-command"):
                await checked(client.hgetall("x"), "check redis.url")


@pytest.mark.parametrize("command", ["XADD", "TIME"])
async def test_renamed_command_of_a_script(command):
    """A change whose script calls a missing command is refused with the remedy."""
    with Valkey("--rename-command", command, "") as server:
        async with administration(server.endpoint) as admin:
            with pytest.raises(Unavailable, match="that our scripts call; remove its rename-com"):
                await admin.issue()


def test_a_long_refusal():
    """An error reply of any length becomes a short text, as it also stands in log lines."""
    assert refusal(Exception("ERR " + "x" * 100_000)) == "ERR " + "x" * 296


async def test_late_answers(valkey, admin, caplog):
    """An answer that comes after the trust lease grants no trust, and the log says so."""
    caplog.set_level(logging.INFO, "authz.store")
    async with Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        caplog.clear()
        sidecar.feed._heartbeats.send(sidecar.feed.link)
        await asyncio.sleep(0)  # it is sent
        time.sleep(1.5 * LEASE)  # the event loop is busy
        await eventually(lambda: any("took longer than" in text for text in caplog.messages))
        await sidecar.trusted()
        assert caplog.messages[-1].startswith("store trusted")


async def test_watch_of_an_emptied_store(own_valkey, own_admin):
    """The watch of a store that was emptied since says at which change it was."""
    await own_admin.issue()
    async with own_valkey.endpoint.client() as client:
        watch = MetaWatch(client, SystemClock(), make_keyring().fingerprints, ())
        await watch.look()
        assert watch.reason == ""
        own_valkey.admin.flushall()
        await watch.look()
        assert watch.reason.startswith("the store's data is gone: it was at change 1; restore it")
        assert not watch.is_current


async def test_doctor_finds_a_store_that_went_back(own_valkey, own_admin):
    """A store with fewer changes than a sidecar has seen fails, with both numbers."""
    assert (await report(own_valkey.endpoint))["changes"].level is Level.OK
    await own_admin.issue()
    own_valkey.admin.save()
    record = await own_admin.issue()
    async with Registered(own_valkey.endpoint, "web-1") as sidecar:
        await sidecar.find(record.kid)
        own_valkey.restart(empty=False)
        await eventually(lambda: sidecar.probe.events[Event.SEQUENCE_WENT_BACK])

        async def is_found():
            return (await report(own_valkey.endpoint))["changes"].level is Level.FAIL

        await eventually(is_found)
        found = (await report(own_valkey.endpoint))["changes"].found
        assert found == "the store went back to change 1: a sidecar has seen change 2"


async def test_doctor_finds_a_swapped_database(own_valkey, own_admin):
    """If another database of the server has our data, the doctor names it and changes nothing."""
    own_valkey.admin.swapdb(0, 3)
    identity = (await report(own_valkey.endpoint))["identity"]
    assert "no authz:meta in database 0, but in 3" in identity.found
    assert "undo the SWAPDB" in identity.advice
    own_valkey.admin.swapdb(0, 3)
    assert (await report(own_valkey.endpoint))["identity"].level is Level.OK


async def test_doctor_finds_a_sidecar_without_trust(own_valkey, own_admin):
    """A sidecar that was heard of and does not trust the store is a warning with its reason."""
    async with Registered(own_valkey.endpoint, "web-1") as sidecar:
        await sidecar.trusted()

        async def found():
            return (await report(own_valkey.endpoint))["sidecars"]

        await eventually(partial(_is, found, Level.OK))
        own_valkey.admin.config_set("client-output-buffer-limit", "pubsub 1 1 1")
        await own_admin.issue()
        await eventually(partial(_is, found, Level.WARN))
        assert "1 of 1 are silent or do not trust the store: web-1: " in (await found()).found
        own_valkey.admin.config_set("client-output-buffer-limit", "pubsub 0 0 0")
        await eventually(partial(_is, found, Level.OK))


async def _is(finding, level):
    return (await finding()).level is level
