"""Checks whether a store is fit for keys, for `authz doctor`. Each function returns one finding.

No check changes anything. If the store refuses a command that a check needs (managed stores forbid
many), the finding is a warning, not a failure.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, Final, cast

import redis.asyncio
from redis import exceptions

from authz.core.errors import Unavailable, Unreadable
from authz.core.finding import Finding, Level
from authz.core.limits.key_limits import pool_of_project
from authz.core.records import KeyRecord
from authz.storage import meta, schema
from authz.storage.endpoint import OLDEST_MAJOR
from authz.storage.limits.stored_counters import StoredCounters
from authz.storage.listing import StoredIndex
from authz.storage.permissions import permissions
from authz.storage.registry import highest_seen
from authz.storage.replies import checked, mebibytes

MEMORY_WARNING, MEMORY_FAILURE = 0.8, 0.95
GROWTH_WARNING_DAYS: Final = 14
DAY_MS: Final = 86_400_000
CLOCK_WARNING_MS, CLOCK_FAILURE_MS = 1_000, 10_000
SAMPLE: Final = 200
PINGS: Final = 21
UNGREETED: Final = "HELLO must be called with the client already authenticated"


@dataclass(frozen=True, slots=True)
class Store:
    """The store that is checked, and the settings that the checks need.

    fingerprints: of our peppers, by version. deadline: seconds that a lookup may take. wall_ms:
    returns our clock. has_replicas: whether it is behind Sentinel. anonymous: a client that does
    not log in; None if `client` does not log in either. prefixes: of the keys that sidecars read.
    """

    client: redis.asyncio.Redis
    fingerprints: Mapping[str, str]
    deadline: float
    wall_ms: Callable[[], int]
    has_replicas: bool = False
    anonymous: redis.asyncio.Redis | None = None
    prefixes: Collection[str] = ()

    @property
    def names(self) -> schema.Names:
        """The names of our data in the store."""
        return schema.names_of(self.client)


async def inspect(store: Store) -> AsyncIterator[Finding]:
    """Yield every finding in the order of CHECKS; only one, a failure, if the store is unreachable.

    A check that raises Unavailable yields a warning.
    """
    try:
        await checked(store.client.ping())
    except Unavailable as cause:
        yield _fail("store", str(cause), "check redis.url and that the store runs")
        return
    for check in CHECKS:
        try:
            yield await check(store)
        except Unavailable as cause:
            yield _warn(check.__name__, f"cannot be checked: {cause}", "check it by hand")


async def version(store: Store) -> Finding:
    """Check the server's version. Failure below OLDEST_MAJOR. Raises Unavailable."""
    found = await _info(store, "server")
    name = "valkey" if "valkey_version" in found else "redis"
    number = str(found.get(f"{name}_version", "0"))
    if int(number.partition(".")[0]) < OLDEST_MAJOR:
        return _fail("version", f"{name} {number}", "Redis 7 or Valkey is needed")
    return _ok("version", f"{name} {number}, RESP3")


async def identity(store: Store) -> Finding:
    """Check that authz:meta exists, with our schema, peppers and prefixes.

    Failure if it is missing, foreign, or has keys with an unlisted prefix. Warning if a prefix of
    ours is not recorded, or a pepper of the store is not ours. Raises Unavailable if the store
    cannot be read.
    """
    found = await checked(store.client.hgetall(store.names.meta))
    try:
        if not found:
            await _refuse_other_namespace(store)
            raise meta.Emptied(await highest_seen(store.client))
        theirs = meta.verify(found, store.fingerprints)
    except Unavailable as cause:
        problem, _, advice = str(cause).partition("; ")
        return _fail("identity", problem, advice)
    if unlisted := meta.unlisted_prefixes(found, store.prefixes):
        problem, _, advice = unlisted.partition(": ")
        return _fail("identity", problem, advice)
    if not all(f"{schema.META_PREFIX}{prefix}" in found for prefix in store.prefixes):
        problem = "the store does not know the prefix of its keys"
        return _warn("identity", problem, "`authz init` records it")
    missing = sorted(theirs.keys() - store.fingerprints.keys())
    if missing:
        which = ", ".join(missing)
        return _warn("identity", f"pepper {which} is not here", "add it to keys.peppers")
    return _ok("identity", f"initialised, pepper {', '.join(sorted(theirs))}")


async def _refuse_other_namespace(store: Store) -> None:
    """Raise Unavailable if the store has the authz:meta of any namespace. It scans the whole store.

    Without the right to SCAN, only the name without a namespace is looked for. Call it if ours is
    missing.
    """
    try:
        names = [name async for name in store.client.scan_iter("*authz:meta", count=10_000)]
    except (exceptions.RedisError, OSError):  # the user may lack the right to SCAN
        names = [schema.META] if await checked(store.client.exists(schema.META)) else []
    others = [name.removesuffix("authz:meta").removesuffix(":") for name in names]
    if others:
        found = ", ".join(repr(other) if other else "(none)" for other in sorted(others)[:5])
        ours = repr(store.names.namespace) if store.names.namespace else "(none)"
        raise Unavailable(
            f"there is no authz:meta of namespace {ours}, but of {found}; correct redis.namespace"
        )


async def access(store: Store) -> Finding:
    """Check that the store refuses a client without a login. Failure if it accepts one.

    Warning if we do not log in either. Raises Unavailable if the anonymous client cannot connect.
    """
    if store.anonymous is None:
        return _warn("access", "no login is required", "give it users: deploy/redis/users.acl")
    try:
        await store.anonymous.exists(store.names.meta)
    except (exceptions.RedisError, OSError) as cause:
        refused = isinstance(cause, exceptions.ResponseError | exceptions.AuthenticationError)
        if refused or UNGREETED in str(cause):  # redis-py has another class for Unix sockets
            return _ok("access", "a client without a password is refused")
        raise Unavailable(str(cause)) from None
    problem = "a client without a password is accepted"
    return _fail("access", problem, "put `user default off` into its list of users")


async def eviction(store: Store) -> Finding:
    """Check that the policy is noeviction. Otherwise failure, or warning without a maxmemory.

    Raises Unavailable if INFO is refused.
    """
    found = await _info(store, "memory")
    policy = found.get("maxmemory_policy", "unknown")
    if policy == "noeviction":
        return _ok("eviction", policy)
    advice = "set maxmemory-policy noeviction"
    if not found.get("maxmemory"):
        return _warn("eviction", f"{policy}, without a maxmemory so far", advice)
    return _fail("eviction", f"{policy}: the store may evict keys", advice)


async def memory(store: Store) -> Finding:
    """Check the memory in use against maxmemory, or without one against the machine's memory.

    Failure from 95 %. Warning from 80 %, if it fills up within 14 days, or if the limit is unknown.
    Raises Unavailable if INFO is refused.
    """
    found = await _info(store, "memory")
    limit = found.get("maxmemory") or found.get("total_system_memory")
    used = found["used_memory"]
    if not limit:
        return _warn("memory", f"{mebibytes(used)} used of an unknown limit", "set maxmemory")
    measured = f"{mebibytes(used)} of {mebibytes(limit)} used"
    days = await _days_until_full(store, used, limit)
    if days is not None:
        measured += f"; at the growth of the recent changes full in {days:.0f} days"
    if used < MEMORY_WARNING * limit and (days is None or days >= GROWTH_WARNING_DAYS):
        return _ok("memory", measured)
    level = Level.FAIL if used >= MEMORY_FAILURE * limit else Level.WARN
    advice = "raise maxmemory: a full store takes only changes that take rights away"
    return Finding(level, "memory", measured, advice)


async def _days_until_full(store: Store, used: int, limit: int) -> float | None:
    """Estimate in how many days memory is full, from the rate of changes in the log; at least 0.

    None if the log is empty, unreadable, spans under a day or shows no growth. used, limit: bytes.
    """
    try:
        [oldest] = await checked(store.client.xrange(store.names.log, count=1))
        [newest] = await checked(store.client.xrevrange(store.names.log, count=1))
        seqs = [int(entry_id.partition("-")[0]) for entry_id, _ in (oldest, newest)]
        days = (int(newest[1]["at"]) - int(oldest[1]["at"])) / DAY_MS
    except (Unavailable, ValueError, KeyError):  # an empty log, or one that this user may not read
        return None
    if days < 1 or seqs[1] <= seqs[0]:
        return None
    growth = used / seqs[1] * (seqs[1] - seqs[0]) / days  # bytes in a day
    return max(0.0, (limit - used) / growth)


async def persistence(store: Store) -> Finding:
    """Check that the store's data survives a restart. OK only with a working append-only file.

    Failure if that file or the last snapshot cannot be written. Otherwise warning. Raises
    Unavailable.
    """
    found = await _info(store, "persistence")
    if found.get("aof_enabled"):
        if found.get("aof_last_write_status") != "ok":
            return _fail("persistence", "the append-only file is not written", "look at its disk")
        return _ok("persistence", "append-only file")
    if found.get("rdb_last_bgsave_status") != "ok":
        return _fail("persistence", "the last snapshot failed", "look at its disk")
    advice = "set appendonly yes: a restart loses the latest changes, revocations too"
    try:
        rules = (await checked(store.client.config_get("save"))).get("save", "")
    except Unavailable:
        return _warn("persistence", "no append-only file; snapshots are unknown", advice)
    problem = f"snapshots only ({rules})" if rules else "nothing is kept on disk"
    return _warn("persistence", problem, advice)


async def replication(store: Store) -> Finding:
    """Check that a replica exists, and that a primary without one refuses writes.

    Failure on a replica, or if no replica keeps up. Warning without a replica. Without
    min-replicas-to-write: failure behind Sentinel, otherwise warning. Raises Unavailable.
    """
    found = await _info(store, "replication")
    if found.get("role") != "master":
        return _fail("replication", "a replica", "point redis.url at the primary")
    count, good = found.get("connected_slaves", 0), found.get("min_slaves_good_slaves")
    if good == 0:
        return _fail("replication", "no replica keeps up: changes are refused", "look at them")
    if not count:
        return _warn("replication", "no replica", "run one: a lost disk loses all keys")
    if good is None:  # Sentinel may promote a replica while sidecars still trust this primary
        level = Level.FAIL if store.has_replicas else Level.WARN
        advice = "set min-replicas-to-write 1 and min-replicas-max-lag 1"
        problem = f"{count} replicas; an isolated primary still accepts writes"
        return Finding(level, "replication", problem, advice)
    return _ok("replication", f"{count} replicas, {good} keep up")


async def clock(store: Store) -> Finding:
    """Compare the store's clock with ours. Sidecars answer 503 if the two decide differently.

    Warning from 1 s apart, failure from 10 s; the round trip is not counted. Raises Unavailable.
    """
    before = store.wall_ms()
    seconds, micros = await checked(store.client.time())
    after = store.wall_ms()
    theirs = int(seconds) * 1000 + int(micros) // 1000
    apart = max(before - theirs, theirs - after, 0)
    if apart < CLOCK_WARNING_MS:
        return _ok("clock", f"{apart} ms from ours")
    level = Level.FAIL if apart >= CLOCK_FAILURE_MS else Level.WARN
    return Finding(level, "clock", f"{apart / 1000:.1f} s from ours", "run NTP on both machines")


async def latency(store: Store) -> Finding:
    """Measure the median time of PINGS round trips with PING. Warning from half of `deadline`.

    Failure from the whole of `deadline`. Raises Unavailable.
    """
    taken = []
    for _ in range(PINGS):
        began = time.perf_counter()
        await checked(store.client.ping())
        taken.append(time.perf_counter() - began)
    middle = median(taken)
    measured = f"{middle * 1000:.2f} ms for a PING, median of {PINGS}"
    if middle < store.deadline / 2:
        return _ok("latency", measured)
    level = Level.FAIL if middle >= store.deadline else Level.WARN
    limit = f"check.deadline is {store.deadline * 1000:g} ms"
    return Finding(level, "latency", f"{measured}; {limit}", "bring the store nearer, or raise it")


async def serving(store: Store) -> Finding:
    """Check that this user may run the commands that every sidecar needs; failure if it may not.

    Raises Unavailable if the store refuses ACL DRYRUN.
    """
    found = permissions(store.names)
    needed = (*found.serving, *found.beating) if store.has_replicas else found.serving
    return await _permitted(store, "serving", needed, Level.FAIL)


async def counting(store: Store) -> Finding:
    """Check that this user may count limits; warning if not. Then each sidecar counts alone.

    Raises Unavailable if the store refuses ACL DRYRUN.
    """
    return await _permitted(store, "counting", permissions(store.names).counting, Level.WARN)


async def registering(store: Store) -> Finding:
    """Check that this user may write registry entries, which `--wait` needs; warning if not.

    Raises Unavailable if the store refuses ACL DRYRUN.
    """
    return await _permitted(store, "registering", permissions(store.names).registering, Level.WARN)


async def changing(store: Store) -> Finding:
    """Check that this user may change keys; warning if not. A sidecar's user does not need that.

    Raises Unavailable if the store refuses ACL DRYRUN.
    """
    return await _permitted(store, "changing", permissions(store.names).changing, Level.WARN)


async def records(store: Store) -> Finding:
    """Check that up to SAMPLE random records can be read; failure if any cannot. OK without keys.

    Raises Unavailable.
    """
    total = await checked(store.client.zcard(store.names.keys))
    kids = await checked(store.client.zrandmember(store.names.keys, SAMPLE)) if total else []
    found = await StoredIndex(store.client).read(kids)
    bad = [str(one) for one in found if isinstance(one, Unreadable)]
    if bad:
        problem = f"{len(bad)} of a sample of {len(kids)} cannot be read: {bad[0]}"
        return _fail("records", problem, "upgrade the older version, or restore them")
    return _ok("records", f"{total} keys; all of a sample of {len(kids)} can be read")


async def limits(store: Store) -> Finding:
    """Check the limit counters of up to SAMPLE random keys, with their projects and tenants.

    Failure if any cannot be read. Raises Unavailable.
    """
    kids = await checked(store.client.zrandmember(store.names.keys, SAMPLE)) or []
    found = await StoredIndex(store.client).read(kids)
    records = [one for one in found if isinstance(one, KeyRecord)]
    projects = [pool_of_project(one, ()) for one in records if one.project_id]
    pools = {f"project:{pool.counter_id}" for pool in projects}
    pools |= {f"tenant:{one.tenant_id}" for one in records if one.tenant_id}
    groups = [*kids, *sorted(pools)]
    bad = await StoredCounters(store.client).garbled(groups)
    if bad:
        problem = f"{len(bad)} of a sample of {len(groups)} counters cannot be read: {bad[0]}"
        return _fail("limits", problem, "authz keys reset-limits KID; DEL those of a pool")
    return _ok("limits", f"all of a sample of {len(groups)} counters can be read")


CHECKS: Final[tuple[Callable[[Store], Awaitable[Finding]], ...]] = (
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
    user = await checked(ask("ACL", "WHOAMI"))
    for command in commands:
        reply = await checked(ask("ACL", "DRYRUN", user, *command))
        if reply != "OK":
            problem = f"user {user} may not {' '.join(command[:2])}"
            return Finding(level, check, problem, f"grant it: ACL SETUSER {user} ...")
    return _ok(check, f"user {user} may run all commands")


async def _info(store: Store, section: str) -> dict[str, Any]:
    return cast("dict[str, Any]", await checked(store.client.info(section)))


def _ok(check: str, found: str) -> Finding:
    return Finding(Level.OK, check, found)


def _warn(check: str, found: str, advice: str) -> Finding:
    return Finding(Level.WARN, check, found, advice)


def _fail(check: str, found: str, advice: str) -> Finding:
    return Finding(Level.FAIL, check, found, advice)
