"""Checks of the server: its version, login, memory, disk, replicas, clock and latency."""

import time
from statistics import median
from typing import Any, Final, cast

from redis import exceptions

from authz.core.errors import Unavailable
from authz.core.finding import Finding, Level, fail, ok, warn
from authz.storage.hello import OLD_MAJORS
from authz.storage.inspection.store import Store
from authz.storage.replies import checked, mebibytes

MEMORY_WARNING, MEMORY_FAILURE = 0.8, 0.95
GROWTH_WARNING_DAYS: Final = 14
DAY_MS: Final = 86_400_000
CLOCK_WARNING_MS, CLOCK_FAILURE_MS = 1_000, 10_000
PINGS: Final = 21
NO_DISK: Final = "make room on its disk, and look at its log: until then it may refuse changes"
UNGREETED: Final = "HELLO must be called with the client already authenticated"


async def version(store: Store) -> Finding:
    """Check the server's version. Failure below version 7. Raises Unavailable."""
    found = await _info(store, "server")
    name = "valkey" if "valkey_version" in found else "redis"
    number = str(found.get(f"{name}_version", "0"))
    major = number.partition(".")[0]
    if not (major.isascii() and major.isdecimal() and major not in OLD_MAJORS):
        return fail("version", f"{name} {number}", "Redis 7 or Valkey is needed")
    return ok("version", f"{name} {number}, RESP3")


async def access(store: Store) -> Finding:
    """Check that the store refuses a client without a login. Failure if it accepts one.

    If our own client does not log in, this returns a warning and asks the store nothing. Raises
    Unavailable if the anonymous client cannot connect.
    """
    if store.anonymous is None:
        return warn("access", "no login is required", "give it users: deploy/redis/users.acl")
    try:
        await store.anonymous.exists(store.names.meta)
    except (exceptions.RedisError, OSError) as cause:
        refused = isinstance(cause, exceptions.ResponseError | exceptions.AuthenticationError)
        if refused or UNGREETED in str(cause):  # redis-py has another class for Unix sockets
            return ok("access", "a client without a password is refused")
        raise Unavailable(str(cause)) from None
    problem = "a client without a password is accepted"
    return fail("access", problem, "put `user default off` into its list of users")


async def eviction(store: Store) -> Finding:
    """Check that the policy is noeviction. Otherwise failure, or warning without a maxmemory.

    Raises Unavailable if INFO is refused.
    """
    found = await _info(store, "memory")
    policy = found.get("maxmemory_policy", "unknown")
    if policy == "noeviction":
        return ok("eviction", policy)
    advice = "set maxmemory-policy noeviction"
    if not found.get("maxmemory"):
        return warn("eviction", f"{policy}, without a maxmemory so far", advice)
    return fail("eviction", f"{policy}: the store may evict keys", advice)


async def memory(store: Store) -> Finding:
    """Check the memory in use against maxmemory, or without one against the machine's memory.

    Failure from 95 %. Warning from 80 %, if it fills up within 14 days, or if the limit is unknown.
    Raises Unavailable if INFO is refused.
    """
    found = await _info(store, "memory")
    limit = found.get("maxmemory") or found.get("total_system_memory")
    used = found.get("used_memory")
    if not isinstance(used, int) or not isinstance(limit, int | None):
        return warn(
            "memory", "not known: INFO has no numbers", "look at the store's memory by hand"
        )
    if not limit:
        return warn("memory", f"{mebibytes(used)} used of an unknown limit", "set maxmemory")
    measured = f"{mebibytes(used)} of {mebibytes(limit)} used"
    days = await _days_until_full(store, used, limit)
    if days is not None:
        measured += f"; at the growth of the recent changes full in {days:.0f} days"
    if used < MEMORY_WARNING * limit and (days is None or days >= GROWTH_WARNING_DAYS):
        return ok("memory", measured)
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

    Failure if that file or the last snapshot cannot be written: the store may refuse every change.
    Otherwise warning. Raises Unavailable.
    """
    found = await _info(store, "persistence")
    if found.get("aof_enabled") and found.get("aof_last_write_status") != "ok":
        return fail("persistence", "the append-only file is not written", NO_DISK)
    if found.get("rdb_last_bgsave_status", "ok") != "ok":
        return fail("persistence", "the last snapshot failed", NO_DISK)
    if found.get("aof_enabled"):
        return ok("persistence", "append-only file")
    advice = "set appendonly yes: a restart loses the latest changes, revocations too"
    try:
        rules = (await checked(store.client.config_get("save"))).get("save", "")
    except Unavailable:
        return warn("persistence", "no append-only file; snapshots are unknown", advice)
    problem = f"snapshots only ({rules})" if rules else "nothing is kept on disk"
    return warn("persistence", problem, advice)


async def replication(store: Store) -> Finding:
    """Check that a replica exists, and that a primary without one refuses writes.

    Failure on a replica, or if no replica keeps up. Warning without a replica. Without
    min-replicas-to-write: failure behind Sentinel, otherwise warning. On a cluster with one replica
    it is not needed: a promoted replica could not take a revocation. Raises Unavailable.
    """
    found = await _info(store, "replication")
    if found.get("role") != "master":
        return fail("replication", "a replica", "point redis.url at the primary")
    count, good = found.get("connected_slaves", 0), found.get("min_slaves_good_slaves")
    if good == 0:
        return fail("replication", "no replica keeps up: changes are refused", "look at them")
    if not count:
        return warn("replication", "no replica", "run one: a lost disk loses all keys")
    if good is None and store.names.is_clustered and count == 1:
        return ok("replication", "1 replica")
    if good is None:  # Sentinel may promote a replica while sidecars still trust this primary
        is_needed = store.has_replicas and not store.names.is_clustered
        level = Level.FAIL if is_needed else Level.WARN
        advice = "set min-replicas-to-write 1 and min-replicas-max-lag 1"
        problem = f"{count} replicas; an isolated primary still accepts writes"
        return Finding(level, "replication", problem, advice)
    return ok("replication", f"{count} replicas, {good} keep up")


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
        return ok("clock", f"{apart} ms from ours")
    level = Level.FAIL if apart >= CLOCK_FAILURE_MS else Level.WARN
    return Finding(level, "clock", f"{apart / 1000:.1f} s from ours", "run NTP on both machines")


async def latency(store: Store) -> Finding:
    """Measure the median time of PINGS round trips with PING. Warning from half of `deadline`.

    Failure from the whole of `deadline`. Raises Unavailable.
    """
    taken = []
    for _ in range(PINGS):
        began = time.perf_counter()
        await store.ping()
        taken.append(time.perf_counter() - began)
    middle = median(taken)
    measured = f"{middle * 1000:.2f} ms for a PING, median of {PINGS}"
    if middle < store.deadline / 2:
        return ok("latency", measured)
    level = Level.FAIL if middle >= store.deadline else Level.WARN
    limit = f"check.deadline is {store.deadline * 1000:g} ms"
    return Finding(level, "latency", f"{measured}; {limit}", "bring the store nearer, or raise it")


async def _info(store: Store, section: str) -> dict[str, Any]:
    return cast("dict[str, Any]", await checked(store.client.info(section)))
