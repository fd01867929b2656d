"""deploy/redis/users.acl: each user can do its work and nothing else."""

import asyncio
import contextlib
import os
import struct
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from authz.core import partitions
from authz.core.changes import Author
from authz.core.errors import Unavailable
from authz.core.leaks import HOUR_MS, ReportProgress
from authz.core.limits.charge import SpendReply, SpendRequest, charge_for
from authz.core.limits.charge_once import RetryName
from authz.core.limits.key_limits import LimitGroup, Owner
from authz.core.records import RevocationReason, Status
from authz.core.sidecars import Issued
from authz.core.trail.verification import Verification
from authz.core.usage.anomalies.features import Feature, Reason
from authz.core.usage.anomalies.ports import Round
from authz.core.usage.anomalies.ranking import Anomaly
from authz.core.usage.commit import Budget, Settlement
from authz.core.usage.counts import Level, month_of
from authz.core.usage.ports import Counted, Known
from authz.core.usage.question import TopBy
from authz.core.usage.tally import Clocks
from authz.flows.deletion import Deletion
from authz.flows.trail.sealing import Sealer
from authz.flows.trail.verifying import verify
from authz.flows.usage.erasure import UsageErasure
from authz.process.clock import SystemClock
from authz.storage import encoding, functions, schema
from authz.storage.deletions import StoredDeletions
from authz.storage.deliveries import StoredDeliveries
from authz.storage.essential import WRITE, EssentialWrites
from authz.storage.imports import StoredImports
from authz.storage.issued import StoredIssued
from authz.storage.keys import StoredKeys
from authz.storage.leak_memory import StoredLeakMemory
from authz.storage.limits.spend_link import SpendLink
from authz.storage.limits.spend_script import SPEND_FUNCTION
from authz.storage.limits.stored_counters import StoredCounters
from authz.storage.link import Link
from authz.storage.listing import StoredIndex
from authz.storage.permissions import permissions
from authz.storage.registration import Identity, Registration
from authz.storage.registry import StoredSidecars
from authz.storage.schema import DEFAULT
from authz.storage.signing_keys import StoredSigningKeys
from authz.storage.trail import StoredRows
from authz.storage.usage.closed_hours import StoredClosedHours
from authz.storage.usage.erasing import StoredEraser
from authz.storage.usage.habits import StoredHabits
from authz.storage.usage.many_keys import StoredUsageIndex
from authz.storage.usage.month_ranking import StoredRanking
from authz.storage.usage.stored_usage import StoredUsage
from authz.storage.usage.usage_link import UsageLink
from tests.spending.plans import make_terms
from tests.support.fakes import KID, make_keyring
from tests.support.real import Valkey, eventually
from tests.support.storage import stored
from tests.support.storage.changing import imported
from tests.support.storage.sidecar import Admin, Sidecar, administration
from tests.support.storage.stored import BEATING, CHANGING, INDEXING, REGISTERING, SERVING
from tests.support.usage import KID as USED
from tests.support.usage import committed, line

USERS = Path(__file__).parents[2] / "deploy" / "redis" / "users.acl"
SIDECAR, ADMIN, CONSOLE = "authz-sidecar", "authz-admin", "authz-console"
METER = "authz-meter"
ALL = (SIDECAR, ADMIN, CONSOLE, METER)
REVOKE = ("HSET", stored.key(KID), "status", "active")

FORBIDDEN = {
    SIDECAR: [
        ("FUNCTION", "LOAD", "x"),
        REVOKE,
        ("DEL", stored.key(KID)),
        ("DEL", stored.SIDECARS),
        ("SET", stored.SEQ, "1"),
        ("SET", stored.META, "1"),
        ("SET", "other", "1"),
        ("SET", stored.alias(b"n" * 32), KID),
        ("DEL", stored.alias(b"n" * 32)),
        ("HSET", stored.META, "imports", "1"),
        ("HGETALL", "other"),
        ("MGET", stored.alias(b"n" * 32), "other"),
        ("HGETALL", stored.AUDIT),
        ("HGETALL", DEFAULT.signing),
        ("HSET", stored.META, "signing:k", "1"),
        ("XRANGE", stored.AUDIT, "-", "+"),
        ("GET", stored.sidecar("another")),
        ("XADD", stored.LOG, "*", "a", "b"),
        ("ZADD", stored.KEYS, "1", KID),
        ("PUBLISH", stored.CHANGES, f"1 {KID} active"),
        ("SUBSCRIBE", "other"),
        ("PSUBSCRIBE", "*"),
        ("EVAL", "return 1", "0"),
        ("EVALSHA", "0" * 40, "1", stored.key(KID)),
        ("EVALSHA", "0" * 40, "1", stored.limit(KID)),
        ("SCRIPT", "LOAD", "return 1"),
        ("FCALL", SPEND_FUNCTION.name, "1", stored.key(KID)),
        ("FCALL", WRITE.name, "1", stored.key(KID), "DEL"),
        ("HSET", stored.limit(KID).replace("limit", "key"), "a", "b"),
        ("DEL", stored.limit(KID)),
        ("HSET", DEFAULT.estimates, "chat mini", ""),
        ("HGETALL", f"{DEFAULT.usage}{KID}"),
        ("HGETALL", DEFAULT.moved),
        ("HSET", DEFAULT.moved, "a", "1"),
    ],
    ADMIN: [
        ("DEL", DEFAULT.moved),
        ("HDEL", DEFAULT.moved, "a"),
        ("DEL", stored.AUDIT),
        ("DEL", stored.SEQ),
        ("DEL", stored.KEYS),
        ("DEL", DEFAULT.gone(0)),
        ("SREM", DEFAULT.gone(0), "1"),
        ("XTRIM", stored.AUDIT, "MAXLEN", "0"),
        ("XDEL", stored.LOG, "1-0"),
        ("SET", stored.sidecar("one"), "{}"),
        ("ZADD", stored.SIDECARS, "1", "one"),
        ("DEL", DEFAULT.signing),
        ("HSET", "other", "a", "b"),
        ("HGETALL", "other"),
        ("PUBLISH", "other", "text"),
        ("EVAL", "return 1", "0"),
    ],
    CONSOLE: [
        ("FUNCTION", "LOAD", "x"),
        ("SCRIPT", "LOAD", "return 1"),
        REVOKE,
        ("SET", stored.SEQ, "1"),
        ("HGETALL", "other"),
        ("DEL", stored.key(KID)),
        ("ZADD", stored.KEYS, "1", KID),
        ("PUBLISH", stored.CHANGES, f"1 {KID} active"),
        ("SUBSCRIBE", stored.CHANGES),
        ("EVALSHA", "0" * 40, "0"),
        ("WAIT", "1", "1"),
    ],
    METER: [
        ("FUNCTION", "LOAD", "x"),
        REVOKE,
        ("HGETALL", schema.DEFAULT.key(KID)),
        ("HGETALL", schema.DEFAULT.signing),
        ("HGET", schema.DEFAULT.key(KID), "status"),
        ("DEL", schema.DEFAULT.limit(KID)),
        ("HDEL", schema.DEFAULT.limit(KID), "a"),
        ("HGETALL", schema.DEFAULT.limit(KID)),
        ("HGETALL", f"{schema.DEFAULT.usage}{KID}"),
        ("DEL", f"{schema.DEFAULT.usage}{KID}"),
        ("SET", f"{schema.DEFAULT.usage}{KID}", "x"),
        ("SREM", f"{schema.DEFAULT.usage}seen:1", "digest"),
        ("HGETALL", schema.DEFAULT.meta),
        ("SET", schema.DEFAULT.meta, "1"),
        ("HSET", schema.DEFAULT.meta, "schema", "9"),
        ("SADD", "other", "x"),
        ("EXISTS", schema.DEFAULT.key(KID)),
        ("PUBLISH", schema.DEFAULT.changes, f"1 {KID} active"),
        ("SUBSCRIBE", schema.DEFAULT.changes),
        ("EVAL", "return 1", "0"),
        ("EVALSHA", "0" * 40, "1", schema.DEFAULT.key(KID)),
        ("EVALSHA", "0" * 40, "1", f"{schema.DEFAULT.usage}x"),
        ("SCRIPT", "LOAD", "return 1"),
        ("FCALL", WRITE.name, "1", schema.DEFAULT.key(KID), "DEL"),
    ],
}
FORBIDDEN_TO_ALL = [
    ("FLUSHALL",),
    ("FLUSHDB",),
    ("KEYS", "*"),
    ("SCAN", "0"),
    ("CONFIG", "GET", "*"),
    ("CONFIG", "SET", "dir", "/tmp"),
    ("ACL", "LIST"),
    ("ACL", "SETUSER", "x", "on"),
    ("CLIENT", "LIST"),
    ("CLIENT", "KILL", "TYPE", "normal"),
    ("MONITOR",),
    ("REPLICAOF", "NO", "ONE"),
    ("SHUTDOWN",),
    ("SAVE",),
    ("MIGRATE", "h", "1", "k", "0", "1"),
    ("RESTORE", "k", "0", "x"),
    ("DUMP", stored.key(KID)),
    ("FUNCTION", "DELETE", SPEND_FUNCTION.name),
    ("FUNCTION", "FLUSH"),
    ("FUNCTION", "RESTORE", "x"),
    ("FUNCTION", "KILL"),
    ("SCRIPT", "FLUSH"),
    ("SCRIPT", "KILL"),
    ("SORT", stored.KEYS),
]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A server with these users, each with its own name as password."""
    lines = [f"{line} >{line.split()[1]}" for line in USERS.read_text().splitlines()]
    file = tmp_path_factory.mktemp("acl") / "users.acl"
    file.write_text("\n".join(lines) + "\n")
    with Valkey("--aclfile", str(file)) as valkey:
        yield valkey


@pytest.fixture
def guarded_valkey(guarded):
    """The same server, emptied."""
    guarded.admin.flushall()
    guarded.admin.execute_command("ACL", "LOG", "RESET")
    return guarded


@contextlib.asynccontextmanager
async def administrator(valkey):
    """Administration as the user `admin`."""
    endpoint = valkey.login(ADMIN, ADMIN)
    async with administration(endpoint) as admin:
        yield replace(admin, store=admin.store)


async def functions_loaded(valkey):
    """Load the functions as `authz init` does."""
    async with valkey.login(ADMIN, ADMIN).client() as client:
        assert await functions.load(client) == ""
        assert await functions.missing(client) == []


@contextlib.asynccontextmanager
async def linked(valkey, user):
    """A link as one of the users."""
    endpoint = valkey.login(user, user)
    link = await endpoint.open(lambda: Link(lambda _push: None, lambda: None))
    try:
        await endpoint.greet(link, "test")
        yield link
    finally:
        link.abort()
        await asyncio.sleep(0)


def test_nobody_is_let_in_before_a_password_is_set():
    """As shipped, the file allows no login."""
    lines = USERS.read_text().splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["user", n] for n in (SIDECAR, ADMIN, CONSOLE, METER)
    ]
    assert not any(word.startswith((">", "#", "nopass")) for word in USERS.read_text().split())


def test_the_users_of_a_store_with_several_partitions(guarded_valkey, tmp_path):
    """The script extends each right to all partitions, and to no name outside of them."""
    for user in ALL:
        (tmp_path / user.removeprefix("authz-")).write_text(user)
    (tmp_path / "operator").write_text("operator")
    script = ["sh", str(USERS.with_name("users.sh")), str(tmp_path)]
    environ = {"PATH": os.environ["PATH"], "PARTITIONS": "8"}
    made = subprocess.run(script, env=environ, capture_output=True, text=True, check=True).stdout
    lines = [line.split() for line in made.splitlines() if line.startswith("user authz-")]
    ask = guarded_valkey.admin.execute_command
    for _, name, *rules in lines:
        ask("ACL", "SETUSER", f"all-{name}", "reset", *rules)
    for partition in (0, 3, 7):
        names = schema.Names(partition=partition, partitions=8)
        needed = permissions(names)
        wanted = {
            SIDECAR: needed.serving + needed.beating + needed.registering + needed.indexing,
            ADMIN: needed.changing,
        }
        for user, commands in wanted.items():
            said = [ask("ACL", "DRYRUN", f"all-{user}", *command) for command in commands]
            assert said == ["OK"] * len(commands)
    tag = f"{{{partitions.tag(3, 8)}}}"
    for user, commands in FORBIDDEN.items():
        for command in commands:
            mine = [text.replace("authz:meta", "authz:{0}:meta") for text in command]
            theirs = [text.replace("{0}", tag) for text in mine]
            assert ask("ACL", "DRYRUN", f"all-{user}", *theirs) != "OK", theirs
            assert ask("ACL", "DRYRUN", f"all-{user}", *command) != "OK", command


@pytest.mark.parametrize(
    ("user", "commands"), [(SIDECAR, SERVING + BEATING + REGISTERING + INDEXING), (ADMIN, CHANGING)]
)
def test_what_the_doctor_asks_for_is_granted(guarded_valkey, user, commands):
    """`authz doctor` finds no missing permission with this file."""
    said = [guarded_valkey.admin.execute_command("ACL", "DRYRUN", user, *c) for c in commands]
    assert said == ["OK"] * len(commands)


async def test_what_they_are_for(guarded_valkey):
    """Sidecar and admin can do all their work as these users."""
    valkey = guarded_valkey
    async with administrator(valkey) as admin, Sidecar(valkey.login(SIDECAR, SIDECAR)) as sidecar:
        record, other = await admin.issue(), await admin.issue()
        await sidecar.trusted()
        assert await sidecar.find(record.kid) == record
        assert await sidecar.find(KID) is None
        await change_everything(admin, record.kid, other.kid)
        await eventually(lambda: sidecar.feed.health().seq == 6)
        assert (await sidecar.find(record.kid)).status is Status.REVOKED

        valkey.admin.client_kill_filter(_type="pubsub")
        await admin.issue()
        await sidecar.caught_up(7)
        await sidecar.trusted()
    assert valkey.admin.acl_log() == []


async def change_everything(admin: Admin, revoked: str, rotated: str) -> None:
    """Make every kind of change."""
    flow, by = admin.lifecycle, admin.lifecycle.author
    await flow.disable(revoked, by("test"))
    await flow.enable(revoked, by("test"))
    await flow.rotate(rotated, 0, by("test"))
    await flow.revoke(revoked, RevocationReason.SUPERSEDED, by("test"))


async def test_behind_sentinel(guarded_valkey):
    """The additional commands of sidecar and admin behind Sentinel are permitted."""
    valkey = guarded_valkey
    async with administrator(valkey) as admin:
        store = type(admin.store)(admin.store._client, has_replicas=True)
        admin.lifecycle._store = store
        record = await admin.issue()
        assert record.version == 1
    async with linked(valkey, SIDECAR) as link:
        assert await link.call("SET", stored.HEARTBEAT, "1") == "OK"
    assert valkey.admin.acl_log() == []


async def test_imports(guarded_valkey):
    """The admin imports a key, and the sidecar finds it by its digest."""
    valkey = guarded_valkey
    digest = b"n" * 32
    async with administrator(valkey), valkey.login(ADMIN, ADMIN).client() as client:
        imports = StoredImports(client)
        await imports.allow_imports()
        assert await imports.apply_all([imported(digests=[digest])]) == [1]
        assert await imports.resolve_all([[digest]]) == [KID]
        async with Sidecar(valkey.login(SIDECAR, SIDECAR)) as sidecar:
            await sidecar.trusted()
            assert (await sidecar.alias([digest])).kid == KID
            assert await sidecar.alias([b"o" * 32]) is None
    assert valkey.admin.acl_log() == []


async def test_moved_keys(guarded_valkey):
    """The admin writes and lists the places of moved keys. A sidecar reads that of one."""
    async with linked(guarded_valkey, ADMIN) as link:
        assert await link.call("HSET", DEFAULT.moved, "one", "3") == 1
        assert await link.call("HMGET", DEFAULT.moved, "one", "two") == ["3", None]
        assert await link.call("HSCAN", DEFAULT.moved, "0") == ["0", ["one", "3"]]
    async with linked(guarded_valkey, SIDECAR) as link:
        assert await link.call("HGET", DEFAULT.moved, "one") == "3"
    async with linked(guarded_valkey, CONSOLE) as link:
        assert await link.call("HMGET", DEFAULT.moved, "one") == ["3"]
    assert guarded_valkey.admin.acl_log() == []


async def test_limits(guarded_valkey):
    """The sidecar counts limits; the admin reads them and resets those of a key."""
    valkey = guarded_valkey
    asked = charge_for(make_terms("9000/h", "99000/month"), 1, int(time.time() * 1000))
    receipts: list[SpendReply] = []
    await functions_loaded(valkey)
    link = SpendLink(valkey.login(SIDECAR, SIDECAR), SystemClock(), instance="one", deadline=30)
    run = asyncio.create_task(link.run())
    await eventually(lambda: link.is_open)
    link.spend(asked, SpendRequest(13, lease=10), receipts.append)
    await eventually(lambda: receipts)
    assert receipts[0].granted == 13
    for _ in range(2):
        once = RetryName("n" * 22, 60_000)
        link.spend(asked, SpendRequest(1, once=once), receipts.append)
    await eventually(lambda: len(receipts) == 3)
    assert [(reply.granted, reply.is_repeat) for reply in receipts[1:]] == [(1, False), (1, True)]
    async with valkey.login(ADMIN, ADMIN).client() as client:
        counters = StoredCounters(client)
        assert (await counters.look(asked)).left == (8986, 98986)
        granted_at = receipts[0].now_us // 1000
        [[lease]] = await counters.leases([account for account, _ in asked.groups], granted_at)
        assert (lease.holder, lease.requests, lease.cost) == ("one", 10, 1)
        await counters.reset("k" * 16)
        assert (await counters.look(asked)).left == (9000, 99000)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    assert valkey.admin.acl_log() == []


async def test_tokens(guarded_valkey):
    """The admin rotates signing keys and takes exchanges from limits; sidecars see the entries."""
    valkey = guarded_valkey
    async with valkey.login(ADMIN, ADMIN).client() as client:
        keys = StoredSigningKeys(client)
        await keys.add("k1", "entry", "sealed")
        assert await keys.entries() == {"k1": "entry"}
        assert await keys.private_half("k1") == "sealed"
        async with valkey.login(SIDECAR, SIDECAR).client() as sidecar:
            assert await StoredSigningKeys(sidecar).entries() == {"k1": "entry"}
        assert await keys.remove("k1")
        assert not await keys.remove("k1")
        assert await keys.private_half("k1") is None
    asked = charge_for(make_terms("9/h"), 1, int(time.time() * 1000))
    receipts: list[SpendReply] = []
    link = SpendLink(valkey.login(ADMIN, ADMIN), SystemClock(), instance="one", deadline=30)
    run = asyncio.create_task(link.run())
    await eventually(lambda: link.is_open)
    link.spend(asked, SpendRequest(1, lease=0), receipts.append)
    await eventually(lambda: receipts)
    assert receipts[0].granted == 1
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    assert valkey.admin.acl_log() == []


async def test_leaks_and_deliveries(guarded_valkey):
    """The admin bounds what reports end, remembers reports, and the deliveries of new secrets."""
    valkey = guarded_valkey
    async with valkey.login(ADMIN, ADMIN).client() as client:
        memory, deliveries = StoredLeakMemory(client), StoredDeliveries(client)
        valkey.admin.hset(schema.DEFAULT.leaked, "old", 1)
        assert await memory.take_places(["a", "b"], HOUR_MS, 1) == {"a"}
        assert valkey.admin.hkeys(schema.DEFAULT.leaked) == ["a"]
        await memory.remember("report", ReportProgress(is_over=True), 1000)
        assert (await memory.progress("report")).is_over
        await memory.remember("open", ReportProgress(entry_states=["held"]), 1000)
        assert (await memory.progress("open")).entry_states == ["held"]
        assert await deliveries.begin("a", "entry") == "entry"
        assert await deliveries.all() == {"a": "entry"}
        assert not await deliveries.compare_and_set("a", "another", "by")
        assert not await deliveries.compare_and_set("b", "entry", "by")
        assert await deliveries.compare_and_set("a", "entry", "by")
        assert await deliveries.all() == {"a": "by"}
        assert not await deliveries.compare_and_set("a", "entry", None)
        assert await deliveries.all() == {"a": "by"}
        assert await deliveries.compare_and_set("a", "by", None)
        assert await deliveries.all() == {}
    assert valkey.admin.acl_log() == []


async def judged(client, hour):
    """Judge an hour of a key with two requests."""
    habits = StoredHabits(client)
    (one,) = await habits.read([USED], hour)
    assert one.hour.requests == 2
    odd = Anomaly(USED, hour, (Reason(Feature.RATE, 2, 1, 1),))
    await habits.save({USED: b"x"}, [odd])
    await habits.finish(Round(hour))
    assert await habits.take_lease("one", 1000)
    assert await habits.anomalies(range(hour, hour + 1)) == [odd]


def test_a_meter_may_read_the_number_of_partitions(guarded_valkey):
    """Without the right it would count in a store with any number of them."""
    dryrun = ("ACL", "DRYRUN", METER, "HMGET", schema.DEFAULT.meta, "partitions", "partition")
    assert guarded_valkey.admin.execute_command(*dryrun) == "OK"


async def test_usage(guarded_valkey):
    """The meter counts usage; the admin reads it."""
    valkey = guarded_valkey
    async with administrator(valkey), valkey.login(ADMIN, ADMIN).client() as client:
        clock = SystemClock()
        await functions_loaded(valkey)
        kept = dict.fromkeys(Level, 86_400)
        link = UsageLink(valkey.login(METER, METER), clock, kept, callers_kept=86_400)
        run = asyncio.create_task(link.run())
        await eventually(lambda: not link.reason)
        now = clock.wall_ms()
        commit = committed(
            line(started=now),
            line(started=now, reason="revoked", flags="UAEX"),
            line(started=now, kid="-", secret="-", reason="forged", flags="UAEX"),
            clocks=Clocks.near(now, 3_600_000, 60_000),
        )
        budget = Budget(LimitGroup(Owner.KEY, KID, ()), now, "tokens-month month tokens UTC")
        commit.settlements[budget] = Settlement(3, 10)
        taken = struct.pack(">B6s6s", 2, now.to_bytes(6), (100).to_bytes(6))
        valkey.admin.hset(schema.DEFAULT.limit(KID), budget.counter, taken)
        assert await link.commit(commit, [b"one"], now) == Counted()
        assert valkey.admin.hstrlen(schema.DEFAULT.limit(KID), f"{budget.counter} settled") == 19
        assert isinstance(await link.commit(commit, [b"one"], now), Known)
        usage = StoredUsage(client)
        hour = now // 3_600_000
        counted = (await usage.counts(USED, Level.HOUR, range(hour, hour + 1))).values()
        assert [counts.requests for counts in counted] == [2]
        assert [process.seen for process in await usage.processes()] == [3]
        index = StoredUsageIndex(client)
        assert abs((await index.latest([USED]))[0] - now // 1000) <= 60
        assert [kids async for kids in index.used_since(0)] == [[USED]]
        assert await index.issued() == {}
        async with valkey.login(CONSOLE, CONSOLE).client() as reader:  # exports for billing
            hours = StoredClosedHours(reader)
            assert abs(await hours.now_ms() - now) < 3_600_000
            (found,) = await hours.read([USED], range(hour, hour + 1))
            assert len(found.counts) == 1
            assert await StoredIndex(reader).read([USED]) == [None]
            assert await StoredRanking(reader).ranked(month_of(now // 60_000), TopBy.DENIED)
        await judged(client, hour)
        erasure = UsageErasure(StoredEraser(client), StoredRows(client), clock)
        assert await erasure.erase(USED, Author("c", "alice")) == 3
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    assert valkey.admin.acl_log() == []


async def test_registry(guarded_valkey):
    """A sidecar registers, acknowledges and leaves; admin and console see it."""
    valkey = guarded_valkey
    identity = Identity(
        instance="one",
        version="1",
        address="x",
        started_at=1,
        lease_ms=400,
        grace_ms=0,
        charges="c" * 16,
    )
    async with administrator(valkey) as admin:
        sidecar = Sidecar(valkey.login(SIDECAR, SIDECAR))
        registration = Registration(
            sidecar.cache, sidecar.feed, sidecar.clock, identity, entries=lambda: 0
        )
        run = asyncio.create_task(sidecar.feed.run(registration, registration.announce))
        await sidecar.trusted()
        await admin.issue()
        for user in (ADMIN, CONSOLE):
            async with valkey.login(user, user).client() as client:
                sidecars = StoredSidecars(client)

                async def applied(sidecars=sidecars):
                    return [heard.sidecar.applied for heard in (await sidecars.find())[1]] == [1]

                await eventually(applied)
        await registration.report_issued()
        await registration.leave()
        assert valkey.admin.zcard(stored.SIDECARS) == 0
        for user in (ADMIN, CONSOLE):
            async with valkey.login(user, user).client() as client:
                found = await StoredIssued(client).find()
                assert found == [Issued("c" * 16, "one", 0, ended=True)]
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
    assert valkey.admin.acl_log() == []


async def test_the_administrator_deletes_a_key(guarded_valkey):
    """The rights of administration are sufficient to delete a key with its entries."""
    valkey = guarded_valkey
    async with administrator(valkey) as admin, valkey.login(ADMIN, ADMIN).client() as client:
        record = await admin.revoke((await admin.issue()).kid)
        deletion = Deletion(
            StoredKeys(client), StoredDeletions(client), StoredEraser(client), SystemClock()
        )
        await StoredEraser(client).keep_again(record.kid)
        done = await deletion.delete(record.kid, Author("c-delete", "alice"))
        assert done.version == 3
        assert await admin.store.find(record.kid) is None
    assert len(valkey.admin.xrange(stored.AUDIT)) == 1
    assert valkey.admin.acl_log() == []


async def test_the_audit_trail_is_sealed_and_verified(guarded_valkey):
    """Administration seals the trail. The console may verify it, and may not seal it."""
    valkey, keys = guarded_valkey, make_keyring().trail_keys
    async with administrator(valkey) as admin, valkey.login(ADMIN, ADMIN).client() as client:
        await admin.issue()
        sealer = Sealer(StoredRows(client, has_replicas=True), keys, SystemClock(), "sealer")
        assert (await sealer.seal()).rows == 1
    assert valkey.admin.acl_log() == []
    async with valkey.login(CONSOLE, CONSOLE).client() as client:
        rows = StoredRows(client)
        report = await verify(rows, rows, keys, lambda gone: Verification(keys, removed=gone))
        assert (report.is_intact, report.checkpoints) == (True, 1)
        last = (await rows.before("", 1))[0]
        with pytest.raises(Unavailable):
            await rows.add(last, {"kid": "", "change_id": "x"})
    assert [row_id for row_id, _ in valkey.admin.xrange(stored.AUDIT)] == ["1-0", "1-1"]


async def test_console_reads(guarded_valkey):
    """The console reads keys, indexes and the audit trail."""
    valkey = guarded_valkey
    async with administrator(valkey) as admin:
        record = await admin.issue()
    async with linked(valkey, CONSOLE) as link:
        found = await link.call("HGETALL", stored.key(record.kid))
        assert encoding.decode(record.kid, found) == record
        assert await link.call("ZRANGE", stored.KEYS, "0", "-1") == [record.kid]
        assert await link.call("ZREVRANGE", stored.client("acme-web"), "0", "-1") == [record.kid]
        assert len(await link.call("XREVRANGE", stored.AUDIT, "+", "-")) == 1
        assert await link.call("GET", stored.SEQ) == "1"
    assert valkey.admin.acl_log() == []


@pytest.mark.parametrize("user", FORBIDDEN)
async def test_what_they_must_not_do(guarded_valkey, user):
    """Every other command is refused and has no effect."""
    async with linked(guarded_valkey, user) as link:
        for command in FORBIDDEN[user] + FORBIDDEN_TO_ALL:
            with pytest.raises(Unavailable, match="NOPERM"):
                await link.call(*command)
    assert guarded_valkey.admin.dbsize() == 0


@pytest.mark.parametrize("user", ALL)
async def test_every_other_command_is_refused(guarded_valkey, user):
    """Of all commands of the server a user may run those of its line and no others."""
    ask = guarded_valkey.admin.execute_command
    [line] = [line for line in USERS.read_text().splitlines() if f" {user} " in line]
    granted = {word.strip("()")[1:] for word in line.split() if word.lstrip("(").startswith("+")}
    refused = 0
    for name, arity in commands(ask("COMMAND")):
        if name in granted | {"quit", "reset"}:  # these two need no login
            continue
        words = name.split("|")
        said = ask("ACL", "DRYRUN", user, *words, *["1"] * (abs(arity) - len(words)))
        assert "has no permissions" in said, (name, said)
        refused += 1
    assert refused >= 200


def commands(listed):
    """Yield the name and arity of each command and subcommand."""
    for command in listed.values() if isinstance(listed, dict) else listed:
        subcommands = command.get("subcommands") if isinstance(command, dict) else command[9]
        name = command["name"] if isinstance(command, dict) else command[0]
        if not subcommands:
            yield name, command["arity"] if isinstance(command, dict) else command[1]
        for each in subcommands or ():
            yield each[0], each[1]


async def test_without_functions_a_sidecar_counts_nothing(guarded_valkey):
    """Without functions a sidecar names the remedy; after `authz init` it counts."""
    valkey = guarded_valkey
    valkey.admin.execute_command("FUNCTION", "FLUSH")
    link = SpendLink(valkey.login(SIDECAR, SIDECAR), SystemClock(), instance="one", deadline=30)
    run = asyncio.create_task(link.run())
    await eventually(lambda: "authz init" in link.reason)
    await functions_loaded(valkey)
    await eventually(lambda: link.is_open)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)


async def test_a_sidecar_writes_to_a_full_store_by_a_function(guarded_valkey):
    """On a full store the sidecar's essential writes go through a function."""
    valkey = guarded_valkey
    await functions_loaded(valkey)
    replies = []
    valkey.admin.config_set("maxmemory", "1")
    try:
        async with linked(valkey, SIDECAR) as link:
            EssentialWrites().send(link, replies.append, "SET", stored.HEARTBEAT, "1")
            await eventually(lambda: replies)
    finally:
        valkey.admin.config_set("maxmemory", "0")
    assert replies == ["OK"]
    assert valkey.admin.acl_log() == []


@pytest.mark.parametrize("user", [SIDECAR, CONSOLE])
async def test_only_the_administrator_changes_keys(guarded_valkey, user):
    """A change by another user is refused before anything is written."""
    async with administrator(guarded_valkey) as admin:
        record = await admin.issue()
        before = guarded_valkey.admin.dump(stored.key(record.kid))
        async with guarded_valkey.login(user, user).client() as client:
            other = type(admin.store)(client)
            admin.lifecycle._store = other
            with pytest.raises(Unavailable):
                await admin.revoke(record.kid)
    assert guarded_valkey.admin.get(stored.SEQ) == "1"
    assert guarded_valkey.admin.dump(stored.key(record.kid)) == before


async def test_a_script_reaches_nothing_else(guarded_valkey):
    """The administrator's scripts are bound by the same permissions for any key."""
    async with linked(guarded_valkey, ADMIN) as link:
        digest = await link.call("SCRIPT", "LOAD", "return redis.call('SET', KEYS[1], 'x')")
        for name in ("other", stored.SIDECARS, stored.sidecar("one")):
            with pytest.raises(Unavailable, match="NOPERM"):
                await link.call("EVALSHA", digest, "1", name)
        assert await link.call("EVALSHA", digest, "1", stored.HEARTBEAT) == "OK"
