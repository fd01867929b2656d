"""Is this store fit for keys? One function a question; each gives findings, none changes anything.

A question that the store does not answer (a managed one forbids much) is a warning, not a failure.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, Final, cast

import redis.asyncio
from redis import exceptions

from authz.core.errors import Unavailable, Unreadable
from authz.core.finding import Finding, Level
from authz.core.records import KeyRecord
from authz.storage import meta, schema
from authz.storage.limits.stored_counters import StoredCounters
from authz.storage.listing import StoredIndex
from authz.storage.permissions import BEATING, CHANGING, COUNTING, REGISTERING, SERVING
from authz.storage.replies import answered

OLDEST_MAJOR: Final = 7
MEMORY_WARNING, MEMORY_FAILURE = 0.8, 0.95
CLOCK_WARNING_MS, CLOCK_FAILURE_MS = 1_000, 10_000
SAMPLE: Final = 200
PINGS: Final = 21
UNGREETED: Final = "HELLO must be called with the client already authenticated"


@dataclass(frozen=True, slots=True)
class Store:
    """What the questions are asked of.

    deadline: how long a lookup may take, in seconds. has_replicas: is it behind Sentinel?
    stranger: a client that does not log in; None when `client` does not either.
    """

    client: redis.asyncio.Redis
    fingerprints: Mapping[str, str]
    deadline: float
    wall_ms: Callable[[], int]
    has_replicas: bool = False
    stranger: redis.asyncio.Redis | None = None


async def inspect(store: Store) -> AsyncIterator[Finding]:
    """Every finding, in order; only the first when the store cannot be reached."""
    try:
        await answered(store.client.ping())
    except Unavailable as cause:
        yield _fail("store", str(cause), "check redis.url and that the store runs")
        return
    for question in QUESTIONS:
        try:
            yield await question(store)
        except Unavailable as cause:
            yield _warn(question.__name__, f"not answered: {cause}", "look at it yourself")


async def version(store: Store) -> Finding:
    """Does it speak RESP3?"""
    found = await _info(store, "server")
    name = "valkey" if "valkey_version" in found else "redis"
    number = str(found.get(f"{name}_version", "0"))
    if int(number.partition(".")[0]) < OLDEST_MAJOR:
        return _fail("version", f"{name} {number}", "Redis 7 or Valkey is needed")
    return _ok("version", f"{name} {number}, RESP3")


async def identity(store: Store) -> Finding:
    """Are its keys made with our peppers?"""
    found = await answered(store.client.hgetall(schema.META))
    try:
        theirs = meta.verify(found, store.fingerprints)
    except Unavailable as cause:
        what, _, advice = str(cause).rpartition("; ")
        return _fail("identity", what, advice)
    missing = sorted(theirs.keys() - store.fingerprints.keys())
    if missing:
        which = ", ".join(missing)
        return _warn("identity", f"pepper {which} is not here", "add it to keys.peppers")
    return _ok("identity", f"initialised, pepper {', '.join(sorted(theirs))}")


async def access(store: Store) -> Finding:
    """Does it let in who does not log in?"""
    if store.stranger is None:
        return _warn("access", "nobody has to log in", "give it users: deploy/redis/users.acl")
    try:
        await store.stranger.exists(schema.META)
    except (exceptions.RedisError, OSError) as cause:
        refused = isinstance(cause, exceptions.ResponseError | exceptions.AuthenticationError)
        if refused or UNGREETED in str(cause):  # over a Unix socket as another class
            return _ok("access", "nobody comes in without a password")
        raise Unavailable(str(cause)) from None
    what = "anybody who reaches it may come in without a password"
    return _fail("access", what, "put `user default off` into its list of users")


async def eviction(store: Store) -> Finding:
    """May it throw keys away?"""
    found = await _info(store, "memory")
    policy = found.get("maxmemory_policy", "unknown")
    if policy == "noeviction":
        return _ok("eviction", policy)
    advice = "set maxmemory-policy noeviction"
    if not found.get("maxmemory"):
        return _warn("eviction", f"{policy}, without a maxmemory so far", advice)
    return _fail("eviction", f"{policy}: the store may throw keys away", advice)


async def memory(store: Store) -> Finding:
    """Is there room?"""
    found = await _info(store, "memory")
    limit = found.get("maxmemory") or found.get("total_system_memory")
    used = found["used_memory"]
    if not limit:
        return _warn("memory", f"{_mib(used)} used of an unknown limit", "set maxmemory")
    what = f"{_mib(used)} of {_mib(limit)} used"
    if used < MEMORY_WARNING * limit:
        return _ok("memory", what)
    level = Level.FAIL if used >= MEMORY_FAILURE * limit else Level.WARN
    return Finding(level, "memory", what, "give it more: a full store takes no change")


async def persistence(store: Store) -> Finding:
    """Does it survive a restart?"""
    found = await _info(store, "persistence")
    if found.get("aof_enabled"):
        if found.get("aof_last_write_status") != "ok":
            return _fail("persistence", "the append-only file is not written", "look at its disk")
        return _ok("persistence", "append-only file")
    if found.get("rdb_last_bgsave_status") != "ok":
        return _fail("persistence", "the last snapshot failed", "look at its disk")
    advice = "set appendonly yes: after a restart the latest changes are gone, revocations too"
    try:
        rules = (await answered(store.client.config_get("save"))).get("save", "")
    except Unavailable:
        return _warn("persistence", "no append-only file; snapshots are not told", advice)
    what = f"snapshots only ({rules})" if rules else "nothing is kept on disk"
    return _warn("persistence", what, advice)


async def replication(store: Store) -> Finding:
    """Is there another copy, and does a primary without one stop?"""
    found = await _info(store, "replication")
    if found.get("role") != "master":
        return _fail("replication", "a replica", "point redis.url at the primary")
    count, good = found.get("connected_slaves", 0), found.get("min_slaves_good_slaves")
    if good == 0:
        return _fail("replication", "no replica keeps up: changes are refused", "look at them")
    if not count:
        return _warn("replication", "no replica", "run one: a lost disk is all keys lost")
    if good is None:  # and Sentinel may make another the primary while sidecars trust this one
        level = Level.FAIL if store.has_replicas else Level.WARN
        advice = "set min-replicas-to-write 1 and min-replicas-max-lag 1"
        what = f"{count} replicas; a cut-off primary goes on writing"
        return Finding(level, "replication", what, advice)
    return _ok("replication", f"{count} replicas, {good} keep up")


async def clock(store: Store) -> Finding:
    """Does it have our time? Expiry is judged by ours; who writes to the store goes by its own."""
    before = store.wall_ms()
    seconds, micros = await answered(store.client.time())
    after = store.wall_ms()
    theirs = int(seconds) * 1000 + int(micros) // 1000
    apart = max(before - theirs, theirs - after, 0)
    if apart < CLOCK_WARNING_MS:
        return _ok("clock", f"{apart} ms from ours")
    level = Level.FAIL if apart >= CLOCK_FAILURE_MS else Level.WARN
    return Finding(level, "clock", f"{apart / 1000:.1f} s from ours", "run NTP on both machines")


async def latency(store: Store) -> Finding:
    """How long does a lookup take at least?"""
    taken = []
    for _ in range(PINGS):
        began = time.perf_counter()
        await answered(store.client.ping())
        taken.append(time.perf_counter() - began)
    middle = median(taken)
    what = f"{middle * 1000:.2f} ms for a PING, median of {PINGS}"
    if middle < store.deadline / 2:
        return _ok("latency", what)
    level = Level.FAIL if middle >= store.deadline else Level.WARN
    limit = f"check.deadline is {store.deadline * 1000:g} ms"
    return Finding(level, "latency", f"{what}; {limit}", "bring the store nearer, or raise it")


async def serving(store: Store) -> Finding:
    """May this user do what a sidecar cannot do without?"""
    needed = (*SERVING, *BEATING) if store.has_replicas else SERVING
    return await _permitted(store, "serving", needed, Level.FAIL)


async def counting(store: Store) -> Finding:
    """May this user take from limits? Without that they hold for each sidecar alone."""
    return await _permitted(store, "counting", COUNTING, Level.WARN)


async def registering(store: Store) -> Finding:
    """May this user say what it has applied? Without that nobody can wait for it (`--wait`)."""
    return await _permitted(store, "registering", REGISTERING, Level.WARN)


async def changing(store: Store) -> Finding:
    """May this user do what a change to a key does? A sidecar's own user need not."""
    return await _permitted(store, "changing", CHANGING, Level.WARN)


async def records(store: Store) -> Finding:
    """Can the records be read? A sample of them, for there may be many."""
    total = await answered(store.client.zcard(schema.KEYS))
    kids = await answered(store.client.zrandmember(schema.KEYS, SAMPLE)) if total else []
    found = await StoredIndex(store.client).read(kids)
    bad = [str(one) for one in found if isinstance(one, Unreadable)]
    if bad:
        what = f"{len(bad)} of {len(kids)} looked at cannot be read: {bad[0]}"
        return _fail("records", what, "upgrade the older version, or restore them")
    return _ok("records", f"{total} keys; {len(kids)} looked at, all can be read")


async def limits(store: Store) -> Finding:
    """Can limits be counted? A sample of the keys, with their projects and tenants."""
    kids = await answered(store.client.zrandmember(schema.KEYS, SAMPLE)) or []
    found = await StoredIndex(store.client).read(kids)
    records = [one for one in found if isinstance(one, KeyRecord)]
    pools = {f"project:{one.project_id}" for one in records if one.project_id}
    pools |= {f"tenant:{one.tenant_id}" for one in records if one.tenant_id}
    accounts = [*kids, *sorted(pools)]
    bad = await StoredCounters(store.client).garbled(accounts)
    if bad:
        what = f"{len(bad)} of {len(accounts)} accounts looked at cannot be read: {bad[0]}"
        return _fail("limits", what, "authz keys reset-limits KID, or DEL what is not a key's")
    return _ok("limits", f"{len(accounts)} accounts looked at, all can be counted in")


QUESTIONS: Final[tuple[Callable[[Store], Awaitable[Finding]], ...]] = (
    version,
    identity,
    access,
    eviction,
    memory,
    persistence,
    replication,
    clock,
    latency,
    serving,
    counting,
    registering,
    changing,
    records,
    limits,
)


async def _permitted(
    store: Store, check: str, commands: tuple[tuple[str, ...], ...], level: Level
) -> Finding:
    ask: Callable[..., Awaitable[Any]] = store.client.execute_command
    user = await answered(ask("ACL", "WHOAMI"))
    for command in commands:
        said = await answered(ask("ACL", "DRYRUN", user, *command))
        if said != "OK":
            what = f"user {user} may not {' '.join(command[:2])}"
            return Finding(level, check, what, f"grant it: ACL SETUSER {user} ...")
    return _ok(check, f"user {user} may do all of it")


async def _info(store: Store, section: str) -> dict[str, Any]:
    return cast("dict[str, Any]", await answered(store.client.info(section)))


def _mib(count: int) -> str:
    return f"{count / (1 << 20):.0f} MiB"


def _ok(check: str, found: str) -> Finding:
    return Finding(Level.OK, check, found)


def _warn(check: str, found: str, advice: str) -> Finding:
    return Finding(Level.WARN, check, found, advice)


def _fail(check: str, found: str, advice: str) -> Finding:
    return Finding(Level.FAIL, check, found, advice)
