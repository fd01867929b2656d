"""The checks of `authz doctor` on a store: real servers, and servers that are imitated."""

import pytest
import redis

from authz.core.errors import Unavailable
from authz.core.finding import Level
from authz.core.limits.charge import SpendRequest, charge_for
from authz.storage import inspection, schema
from authz.storage.endpoint import Endpoint
from authz.storage.inspection import Store, inspect
from authz.storage.limits.spend_script import SPEND, arguments
from authz.storage.permissions import BEATING, CHANGING, COUNTING, REGISTERING, SERVING
from tests.spending.plans import make_terms
from tests.support.fakes import KID, make_keyring
from tests.support.real import RealClock, Valkey, eventually
from tests.support.storage.changing import moved
from tests.support.storage.sidecar import Registered

DEADLINE = 0.05


def a_store(client, **overrides) -> Store:
    """Return a Store with our peppers and the right time."""
    about = {"fingerprints": make_keyring().fingerprints, "deadline": DEADLINE}
    return Store(client, **about | {"wall_ms": RealClock().wall_ms} | overrides)


async def report(endpoint, **overrides) -> dict[str, inspection.Finding]:
    """Return every finding by the name of its check."""
    client = endpoint.client()
    found = [finding async for finding in inspect(a_store(client, **overrides))]
    await client.aclose()
    return {finding.check: finding for finding in found}


class Saying:
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


async def said(question, level, *words, **sections):
    """Assert level and words of a check's finding on an imitated store."""
    finding = await question(a_store(Saying(**sections)))
    assert finding.level is level
    assert all(word in f"{finding.found}; {finding.advice}" for word in words)
    assert (finding.advice == "") is (level is Level.OK)
    assert finding.check == question.__name__


async def test_a_store_to_try(valkey, admin):
    """A real Valkey without disk and replica has exactly these three warnings."""
    await admin.issue()
    found = await report(valkey.endpoint)
    assert {check for check, f in found.items() if f.level is not Level.OK} == {
        "access",
        "persistence",
        "replication",
    }
    assert "1 keys" in found["records"].found
    assert "valkey" in found["version"].found


async def test_a_store_that_is_gone(own_valkey):
    """An unreachable store gives one finding."""
    own_valkey.kill()
    found = await report(own_valkey.endpoint)
    assert found.keys() == {"store"}
    assert found["store"].level is Level.FAIL


async def test_a_store_that_was_never_initialised(valkey):
    """A store without authz:meta fails with the remedy."""
    identity = (await report(valkey.endpoint))["identity"]
    advice = "run `authz init`, or `authz restore FILE` if it had keys"
    assert (identity.level, identity.advice) == (Level.FAIL, advice)


async def test_a_store_of_other_peppers(valkey, admin):
    """A different pepper of the same version fails; a pepper that we lack is a warning."""
    other = make_keyring("ak", "2").fingerprints["2"]
    found = await report(valkey.endpoint, fingerprints={"1": other})
    assert found["identity"].level is Level.FAIL
    valkey.admin.hset(schema.META, "pepper:2", other)
    found = await report(valkey.endpoint)
    assert found["identity"].level is Level.WARN
    assert "pepper 2" in found["identity"].found


async def test_records_that_cannot_be_read(valkey, admin):
    """Unreadable records are counted, and the first one's error is shown."""
    kids = [(await admin.issue()).kid for _ in range(3)]
    valkey.admin.hset(schema.key(kids[1]), "scopes", "  ")
    finding = (await report(valkey.endpoint))["records"]
    assert finding.level is Level.FAIL
    assert finding.found.startswith(f"1 of a sample of 3 cannot be read: record {kids[1]}: ")


async def test_limits_that_cannot_be_counted(valkey, admin):
    """A garbled counter and a counter that is not a hash are both found."""
    kids = [(await admin.issue()).kid for _ in range(4)]
    now, raw = RealClock().wall_ms(), redis.Redis(port=valkey.port)
    for kid in kids[:2]:
        terms = make_terms("10/s", "20/min,burst=3", "30/month", kid=kid)
        valkey.admin.eval(SPEND, *arguments(charge_for(terms, 1, now), SpendRequest(1)))
    assert (await report(valkey.endpoint))["limits"].level is Level.OK

    for field, value in (("second s unit", "rubbish"), ("second s unit older", "rubbish!")):
        before = raw.dump(schema.limit(kids[0]))
        valkey.admin.hset(schema.limit(kids[0]), field, value)
        found = (await report(valkey.endpoint))["limits"]
        assert found.level is Level.FAIL
        assert found.found == f"1 of a sample of 4 counters cannot be read: {kids[0]}"
        raw.restore(schema.limit(kids[0]), 0, before, replace=True)

    raw.close()
    valkey.admin.set(schema.limit(kids[3]), "text")
    assert kids[3] in (await report(valkey.endpoint))["limits"].found


async def test_only_a_sample_of_the_records_is_read(valkey, admin, monkeypatch):
    """At most SAMPLE records are read."""
    for _ in range(5):
        await admin.issue()
    monkeypatch.setattr(inspection, "SAMPLE", 2)
    assert (await report(valkey.endpoint))["records"].found == (
        "5 keys; all of a sample of 2 can be read"
    )


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
    questions = inspection
    await said(questions.version, Level.FAIL, "6.2.1", "needed", server={"redis_version": "6.2.1"})
    await said(questions.version, Level.OK, "redis 7.2.4", server={"redis_version": "7.2.4"})
    full = {"maxmemory": 100 << 20, "used_memory": 85 << 20}
    await said(questions.memory, Level.WARN, "85 MiB of 100 MiB", memory=full)
    await said(questions.memory, Level.WARN, "unknown limit", memory={"used_memory": 1 << 20})
    broken = {"aof_enabled": 1, "aof_last_write_status": "err"}
    await said(questions.persistence, Level.FAIL, "disk", persistence=broken)
    unsaved = {"aof_enabled": 0, "rdb_last_bgsave_status": "err"}
    await said(questions.persistence, Level.FAIL, "snapshot failed", persistence=unsaved)
    alone = {"role": "master", "connected_slaves": 2}
    await said(questions.replication, Level.WARN, "min-replicas", replication=alone)
    behind_sentinel = a_store(Saying(replication=alone), has_replicas=True)
    assert (await questions.replication(behind_sentinel)).level is Level.FAIL
    lagging = alone | {"min_slaves_good_slaves": 0}
    await said(questions.replication, Level.FAIL, "no replica keeps up", replication=lagging)
    good = alone | {"min_slaves_good_slaves": 2}
    await said(questions.replication, Level.OK, "2 keep up", replication=good)


# permissions


def user(valkey: Valkey, *rules: str):
    """Create a user with these rules and return its endpoint."""
    valkey.admin.execute_command("ACL", "SETUSER", "app", "reset", "on", ">pw", *rules)
    return valkey.login("app", "pw")


EVERYTHING = ["~authz:*", "&authz:*", "+@all"]


@pytest.mark.parametrize("command", sorted({words[0] for words in SERVING} - {"HELLO", "PING"}))
async def test_a_command_that_a_sidecar_needs(valkey, admin, command):
    """A missing command that serving needs fails."""
    found = await report(user(valkey, *EVERYTHING, f"-{command}"))
    assert found["serving"].level is Level.FAIL or command == "HGETALL"
    if command == "HGETALL":  # nothing can be looked at without it
        assert found["identity"].level is Level.WARN
    else:
        assert f"may not {command}" in found["serving"].found


async def test_the_heartbeat_behind_sentinel_writes(valkey, admin):
    """A missing right to write heartbeats fails behind Sentinel, and only there."""
    reader = user(valkey, "%R~authz:*", "&authz:*", "+@all")
    assert (await report(reader))["serving"].level is Level.OK
    serving = (await report(reader, has_replicas=True))["serving"]
    assert (serving.level, serving.found) == (
        Level.FAIL,
        f"user app may not SET {schema.HEARTBEAT}",
    )
    writer = user(valkey, "%R~authz:*", f"~{schema.HEARTBEAT}", "&authz:*", "+@all")
    assert (await report(writer, has_replicas=True))["serving"].level is Level.OK


@pytest.mark.parametrize("command", sorted({words[0] for words in COUNTING} - {"TIME"}))
async def test_a_command_that_counting_needs(valkey, admin, command):
    """A missing command that limits need is a warning."""
    found = await report(user(valkey, *EVERYTHING, f"-{command}"))
    assert found["counting"].level is Level.WARN
    assert f"may not {command}" in found["counting"].found
    assert found["serving"].level is Level.OK


@pytest.mark.parametrize("command", sorted({words[0] for words in REGISTERING}))
async def test_a_command_that_registering_needs(valkey, admin, command):
    """A missing command that the registry needs is a warning."""
    found = await report(user(valkey, *EVERYTHING, f"-{command}"))
    assert found["registering"].level is Level.WARN
    assert f"may not {command}" in found["registering"].found
    assert found["serving"].level is Level.OK


@pytest.mark.parametrize(
    "command", sorted({words[0] for words in CHANGING} - {words[0] for words in SERVING})
)
async def test_a_command_that_a_change_needs(valkey, admin, command):
    """A missing command that changes need is a warning, because a sidecar does not change keys."""
    found = await report(user(valkey, *EVERYTHING, f"-{command}"))
    assert found["changing"].level is Level.WARN
    assert f"may not {command}" in found["changing"].found
    assert found["serving"].level is Level.OK


async def test_keys_and_channels(valkey, admin):
    """Missing rights to keys or channels are found too."""
    found = await report(user(valkey, "+@all", "~authz:*", "resetchannels"))
    assert "SUBSCRIBE" in found["serving"].found
    found = await report(user(valkey, "+@all", "&*", "%R~authz:*", "~authz:{0}:limit:*"))
    assert (found["serving"].level, found["changing"].level) == (Level.OK, Level.WARN)


async def test_a_store_that_says_little(valkey, admin):
    """A check that the store does not answer is a warning, not a failure."""
    rules = [
        "+client",
        "+ping",
        "+hello",
        "+hgetall",
        "+time",
        "+zcard",
        "+zrandmember",
        "+acl|whoami",
    ]
    found = await report(user(valkey, "~authz:*", "&*", "-@all", *rules))
    unknown = {"version", "access", "eviction", "memory", "persistence", "replication"}
    unknown |= {"serving", "counting", "registering", "changing"}
    assert {check for check, f in found.items() if f.level is not Level.OK} == unknown
    assert {found[check].level for check in unknown} == {Level.WARN}


async def test_what_is_asked_for_is_enough(valkey, admin):
    """A user with exactly the checked commands can make every change."""
    nested = {"SCRIPT", "XINFO"}
    words = [words[:2] if words[0] in nested else words[:1] for words in (*SERVING, *CHANGING)]
    rules = ["+client", *(f"+{'|'.join(command)}" for command in words)]
    client = user(valkey, "~authz:*", "&authz:*", "-@all", *rules).client()
    record = await admin.issue()
    store = type(admin.store)(client)
    try:
        await store.apply(moved(record))
    except Unavailable as cause:
        pytest.fail(str(cause))
    finally:
        await client.aclose()
    assert valkey.admin.acl_log() == []


async def test_what_a_sidecar_is_asked_for_is_enough(valkey, admin):
    """A user with exactly the checked commands can do all that a sidecar does."""
    record = await admin.issue()
    words = {words[0] for words in (*SERVING, *COUNTING, *BEATING, *REGISTERING)}
    rules = ["+client", *(f"+{command}" for command in sorted(words))]
    endpoint = user(valkey, "~authz:*", "&authz:*", "-@all", *rules)
    async with Registered(endpoint) as sidecar:
        await sidecar.trusted()
        assert await sidecar.find(record.kid) == record
        assert await sidecar.find(KID) is None
        assert await sidecar.alias([b"n" * 32]) is None
        link = sidecar.feed.link
        assert await link.call("SET", schema.HEARTBEAT, "1") == "OK"
        await eventually(lambda: sidecar.registration._acknowledged == record.version)
        await sidecar.registration.leave()
    assert valkey.admin.acl_log() == []


async def test_a_store_that_lost_its_data(valkey, admin):
    """An emptied store fails with the last change that a sidecar saw, and the remedy."""
    await admin.issue()
    async with Registered(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        valkey.admin.flushall()
        await eventually(lambda: valkey.admin.zcard(schema.SIDECARS))
        identity = (await report(valkey.endpoint))["identity"]
    assert (identity.level, identity.found) == (
        Level.FAIL,
        "the store's data is gone: it was at change 1",
    )
    assert "authz restore FILE" in identity.advice
