"""The checks of the server: real servers, and servers that are imitated."""

import pytest

from authz.core.finding import Level
from authz.storage.endpoint import Endpoint
from authz.storage.inspection import server
from tests.support.real import RealClock
from tests.support.storage.inspection import make_store, report


class ImitatedInfo:
    """An imitated client that returns these sections of INFO."""

    def __init__(self, **sections):
        self.sections = sections

    async def info(self, section):
        """Return a section of INFO."""
        return self.sections[section]

    async def xrange(self, _name, **_options):
        """Return the entries of an empty stream."""
        return []

    xrevrange = xrange

    async def config_get(self, _name):
        """Return the reply to CONFIG GET save."""
        return {"save": self.sections.get("save", "")}


async def assert_finding(check, level, *words, **sections):
    """Assert level and words of a check's finding on an imitated store."""
    finding = await check(make_store(ImitatedInfo(**sections)))
    assert finding.level is level
    assert all(word in f"{finding.found}; {finding.advice}" for word in words)
    assert (finding.advice == "") is (level is Level.OK)
    assert finding.check == check.__name__


@pytest.mark.parametrize(
    ("apart", "level"), [(0, Level.OK), (-3_000, Level.WARN), (60_000, Level.FAIL)]
)
async def test_clock(valkey, admin, apart, level):
    """A clock that differs by 1 s is a warning, by 10 s a failure."""
    found = await report(valkey.endpoint, wall_ms=lambda: RealClock().wall_ms() + apart)
    assert found["clock"].level is level


@pytest.mark.parametrize(("deadline", "level"), [(10, Level.OK), (1e-9, Level.FAIL)])
async def test_latency(valkey, admin, deadline, level):
    """A store with a latency near `check.deadline` is reported."""
    assert (await report(valkey.endpoint, deadline=deadline))["latency"].level is level


async def test_eviction(own_valkey, own_admin):
    """A store that may evict fails if it has a memory limit, and else has a warning."""
    own_valkey.admin.config_set("maxmemory-policy", "allkeys-lru")
    assert (await report(own_valkey.endpoint))["eviction"].level is Level.WARN
    own_valkey.admin.config_set("maxmemory", 1 << 30)
    assert (await report(own_valkey.endpoint))["eviction"].level is Level.FAIL
    own_valkey.admin.config_set("maxmemory-policy", "noeviction")
    assert (await report(own_valkey.endpoint))["eviction"].level is Level.OK


async def test_memory(own_valkey, own_admin):
    """A store that is almost full is reported."""
    own_valkey.admin.config_set("maxmemory", own_valkey.admin.info()["used_memory"] + 10_000)
    memory = (await report(own_valkey.endpoint))["memory"]
    assert memory.level is Level.FAIL
    assert "take rights away" in memory.advice


async def test_persistence(own_valkey, own_admin):
    """An append-only file is accepted."""
    own_valkey.admin.config_set("appendonly", "yes")
    assert (await report(own_valkey.endpoint))["persistence"].level is Level.OK
    own_valkey.admin.config_set("appendonly", "no")
    own_valkey.admin.config_set("save", "60 1")
    persistence = (await report(own_valkey.endpoint))["persistence"]
    assert persistence.level is Level.WARN
    assert "snapshots only (60 1)" in persistence.found


async def test_a_replica(own_valkey, valkey):
    """A replica fails."""
    own_valkey.admin.replicaof("127.0.0.1", valkey.port)
    replication = (await report(own_valkey.endpoint))["replication"]
    assert (replication.level, replication.advice) == (
        Level.FAIL,
        "point redis.url at the primary",
    )


async def test_access(own_valkey, own_admin):
    """A store that accepts clients without a login fails, unless they have no rights."""
    own_valkey.admin.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all")
    login = own_valkey.login("app", "pw")

    async def found():
        anonymous = own_valkey.endpoint.client()
        finding = (await report(login, anonymous=anonymous))["access"]
        await anonymous.aclose()
        return finding.level

    assert await found() is Level.FAIL
    own_valkey.admin.execute_command("ACL", "SETUSER", "default", "-@all", "+ping", "+hello")
    assert await found() is Level.OK
    administrator = login.client()
    await administrator.execute_command("ACL", "SETUSER", "default", "off")
    await administrator.aclose()
    assert await found() is Level.OK
    anonymous = Endpoint.parse(f"unix://{own_valkey.socket_path}").client()
    assert (await report(login, anonymous=anonymous))["access"].level is Level.OK
    await anonymous.aclose()


async def test_a_replica_that_is_required_and_not_there(own_valkey, own_admin):
    """A missing required replica fails, because every change is refused."""
    own_valkey.admin.config_set("min-replicas-to-write", 1)
    replication = (await report(own_valkey.endpoint))["replication"]
    assert replication.level is Level.FAIL
    assert "changes are refused" in replication.found


async def test_what_other_stores_say():
    """The checks understand states that a real store is hard to bring into."""
    await assert_finding(
        server.version, Level.FAIL, "6.2.1", "needed", server={"redis_version": "6.2.1"}
    )
    await assert_finding(server.version, Level.OK, "redis 7.2.4", server={"redis_version": "7.2.4"})
    full = {"maxmemory": 100 << 20, "used_memory": 85 << 20}
    await assert_finding(server.memory, Level.WARN, "85 MiB of 100 MiB", memory=full)
    await assert_finding(
        server.memory, Level.WARN, "unknown limit", memory={"used_memory": 1 << 20}
    )
    broken = {"aof_enabled": 1, "aof_last_write_status": "err"}
    await assert_finding(server.persistence, Level.FAIL, "disk", persistence=broken)
    unsaved = {"aof_enabled": 0, "rdb_last_bgsave_status": "err"}
    await assert_finding(server.persistence, Level.FAIL, "snapshot failed", persistence=unsaved)
    alone = {"role": "master", "connected_slaves": 2}
    await assert_finding(server.replication, Level.WARN, "min-replicas", replication=alone)
    behind_sentinel = make_store(ImitatedInfo(replication=alone), has_replicas=True)
    assert (await server.replication(behind_sentinel)).level is Level.FAIL
    lagging = alone | {"min_slaves_good_slaves": 0}
    await assert_finding(server.replication, Level.FAIL, "no replica keeps up", replication=lagging)
    good = alone | {"min_slaves_good_slaves": 2}
    await assert_finding(server.replication, Level.OK, "2 keep up", replication=good)
