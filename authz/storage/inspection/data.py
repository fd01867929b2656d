"""Checks of our data in the store: whose it is, and whether it can be read."""

from contextlib import suppress
from typing import Final

from redis import exceptions

from authz.core.errors import BadSeal, Unavailable, Unreadable
from authz.core.finding import Finding, fail, ok, warn
from authz.core.limits.key_limits import pool_of_project
from authz.core.records import KeyRecord
from authz.storage import emptiness, meta, schema
from authz.storage.functions import missing
from authz.storage.indexing import Indexing
from authz.storage.inspection.store import Store
from authz.storage.limits.stored_counters import StoredCounters
from authz.storage.listing import StoredIndex
from authz.storage.registry import StoredSidecars, highest_seen
from authz.storage.replies import Garbled, checked, last_change, pipelined
from authz.storage.seals import seals_of

SAMPLE: Final = 200
RECENT_MS: Final = 300_000


async def identity(store: Store) -> Finding:
    """Check that authz:meta exists, with our schema, peppers and prefixes.

    Failure if it cannot be read, is missing or foreign, or has keys with an unlisted prefix.
    Warning if a prefix of ours is not recorded, a pepper of the store is not ours, or the store is
    moving.
    """
    try:
        found = await checked(store.client.hgetall(store.names.meta))
        if not found:
            await _refuse_other_namespace(store)
            await _refuse_other_database(store)
            await _refuse_remains(store)
            raise meta.Emptied(await highest_seen(store.client))
        theirs = meta.verify(found, store.fingerprints, store.names)
    except Unavailable as cause:
        problem, _, advice = str(cause).partition("; ")
        return fail("identity", problem, advice)
    if unlisted := meta.unlisted_prefixes(found, store.prefixes):
        problem, _, advice = unlisted.partition(": ")
        return fail("identity", problem, advice)
    starts = (schema.META_PREFIX, schema.META_PUBLIC)
    recorded = {name.partition(":")[2] for name in found if name.startswith(starts)}
    if not recorded.issuperset(store.prefixes):
        problem = "the store does not know the prefix of its keys"
        return warn("identity", problem, "`authz init` records it")
    missing = sorted(theirs.keys() - store.fingerprints.keys())
    if missing:
        which = ", ".join(missing)
        return warn("identity", f"pepper {which} is not here", "add it to keys.peppers")
    if count := found.get(schema.META_RESHARDING):
        advice = "if it was interrupted, repeat `authz init --reshard`, or drop it with --cancel"
        return warn("identity", f"the store moves to {count[:2]} partitions", advice)
    return ok("identity", f"initialised, pepper {', '.join(sorted(theirs))}")


async def _refuse_other_namespace(store: Store) -> None:
    """Raise Unavailable if the store has the authz:meta of any namespace. It scans the whole store.

    Without the right to SCAN, only the name without a namespace is looked for. Call it if ours is
    missing.
    """
    ours = store.names
    unnamed = schema.Names(
        is_clustered=ours.is_clustered, partition=ours.partition, partitions=ours.partitions
    ).meta
    try:
        names = [name async for name in store.client.scan_iter(f"*{unnamed}", count=10_000)]
    except (exceptions.RedisError, OSError):  # the user may lack the right to SCAN
        names = [unnamed] if await checked(store.client.exists(unnamed)) else []
    others = [name.removesuffix(unnamed).removesuffix(":") for name in names]
    if others:
        found = ", ".join(repr(other) if other else "(none)" for other in sorted(others)[:5])
        namespace = repr(ours.namespace) if ours.namespace else "(none)"
        raise Unavailable(
            f"there is no authz:meta of namespace {namespace}, but of {found}; "
            "correct redis.namespace"
        )


async def _refuse_other_database(store: Store) -> None:
    """Raise Unavailable if another database of the server has our authz:meta.

    Without the right to INFO or SELECT this looks at none. Call it if ours is missing.
    """
    if store.names.is_clustered:
        return
    ours, others, refused = store.names.database, [], (exceptions.RedisError, OSError)
    async with store.client.client() as connection:
        with suppress(*refused):  # the user may lack a right
            for name in await connection.info("keyspace"):
                await connection.select(number := int(name.removeprefix("db")))
                if number != ours and await connection.exists(store.names.meta):
                    others.append(str(number))
        with suppress(*refused):
            await connection.select(ours)
    if others:
        raise Unavailable(
            f"there is no authz:meta in database {ours}, but in {', '.join(others)}; "
            "correct redis.url, or undo the SWAPDB"
        )


async def _refuse_remains(store: Store) -> None:
    """Raise Unavailable if the store lost its authz:meta alone. Call it if ours is missing."""
    if problem := await emptiness.remains(store.client, store.names):
        raise Unavailable(problem)


async def types(store: Store) -> Finding:
    """Check that the values that all keys share have the types that we give them; failure if not.

    Then others wrote into the store. A warning if it is frozen for a move. Raises Unavailable.
    """
    names = store.names
    kinds = {
        names.meta: "hash",
        names.applied: "hash",
        names.moved: "hash",
        names.seq: "string",
        names.imported: "string",
        names.log: "stream",
        names.audit: "stream",
        names.keys: "zset",
        names.sidecars: "zset",
    }
    found = await pipelined(store.client, [("TYPE", name) for name in kinds])
    pairs = zip(kinds.items(), found, strict=True)
    wrong = [
        f"{name} is a {it}, not a {kind}" for (name, kind), it in pairs if it not in (kind, "none")
    ]
    if wrong and "list" in found and await checked(store.client.exists(names.resharding)):
        advice = (
            "if that lasts, repeat `authz init --reshard`: it thaws the store, or ends the move"
        )
        return warn("types", "the store is frozen for a move to more partitions", advice)
    if wrong:
        problem = f"others wrote into the store: {'; '.join(wrong)}"
        return fail("types", problem, "see The store is damaged, in the run book")
    return ok("types", "all values that keys share are of ours")


async def changes(store: Store) -> Finding:
    """Check that the store has every change that a running sidecar has seen; failure if not.

    Then the store went back in time. Failure also if the number of changes is garbled. Raises
    Unavailable.
    """
    try:
        seen = await highest_seen(store.client)  # first: a change may be made meanwhile
        last = await last_change(store.client)
    except Garbled as cause:
        return fail("changes", str(cause), "see The store is damaged, in the run book")
    if last < seen:
        problem = f"the store went back to change {last}: a sidecar has seen change {seen}"
        advice = "revoke again what was revoked since: The store went back, in the run book"
        return fail("changes", problem, advice)
    return ok("changes", f"{last}, and no sidecar has seen a later one")


async def records(store: Store) -> Finding:
    """Check that up to SAMPLE random records can be read; failure if any cannot. OK without keys.

    Raises Unavailable.
    """
    total = await checked(store.client.zcard(store.names.keys))
    index = StoredIndex(store.client)
    kids = await index.sample(SAMPLE)
    found = await index.read(kids)
    bad = [str(one) for one in found if isinstance(one, Unreadable) and type(one) is not BadSeal]
    if bad:
        problem = f"{len(bad)} of a sample of {len(kids)} cannot be read: {bad[0]}"
        return fail("records", problem, "upgrade the older version, or restore them")
    return ok("records", f"{total} keys; all of a sample of {len(kids)} can be read")


async def seals(store: Store) -> Finding:
    """Check the seals of up to SAMPLE random records, and whether the store must have them.

    Failure if a seal is wrong, or missing in a marked store. Warning if the store is not marked.
    Raises Unavailable.
    """
    found = await checked(store.client.hgetall(store.names.meta))
    mine = seals_of(store.client)
    if mine is not None:
        mine.note(found)
    index = StoredIndex(store.client)
    kids = await index.sample(SAMPLE)
    records = await index.read(kids)
    bad = [str(one) for one in records if isinstance(one, BadSeal)]
    if bad:
        problem = f"{len(bad)} of a sample of {len(kids)} have no right seal: {bad[0]}"
        return fail("seals", problem, "`authz reseal` names all; the run book says what to do")
    if not found:
        return warn("seals", f"not known without {store.names.meta}", "mend `identity` first")
    if schema.META_SEALED not in found:
        problem = "records without a seal are accepted: a writer of the store can bring keys back"
        return warn("seals", problem, "`authz reseal`, once everything that writes keys is updated")
    return ok("seals", f"required; all of a sample of {len(kids)} are right")


async def functions(store: Store) -> Finding:
    """Check that the store has the functions of this version; warning if not, or not for our user.

    Raises Unavailable if the store cannot be used.
    """
    try:
        lacking = await missing(store.client)
    except Unavailable as cause:
        problem = f"sidecars load scripts: {cause}"
        return warn("functions", problem, "load the users of deploy/redis/users.acl")
    if lacking:
        problem = f"the store lacks {', '.join(lacking)}, so sidecars load scripts"
        return warn("functions", problem, "`authz init` loads them")
    return ok("functions", "all of this version are loaded")


async def imports(store: Store) -> Finding:
    """Check that the index of imported keys is complete, if there are any; warning if not.

    Raises Unavailable.
    """
    if await Indexing(store.client).is_needed():
        problem = "the index of imported keys may lack some, so each foreign text costs a lookup"
        return warn("imports", problem, "`authz init`, once everything that writes keys is updated")
    return ok("imports", "the index of imported keys is complete")


async def sidecars(store: Store) -> Finding:
    """Check the registry of sidecars. Raises Unavailable.

    Warning if an entry proves nothing, or if a sidecar that was heard of within RECENT_MS (5 min)
    does not trust the store.
    """
    _, found = await StoredSidecars(store.client).find()
    doubts = [f"{one.sidecar.instance}: {one.doubt}" for one in found if one.doubt]
    if doubts:
        problem = f"{len(doubts)} entries prove nothing, so --wait fails: {doubts[0]}"
        return warn("sidecars", problem, "see `authz sidecars`; a stranger may have written them")
    strayed = [one for one in found if not one.is_trusted and one.silent_ms < RECENT_MS]
    if strayed:
        first = strayed[0]
        why = first.sidecar.reason or f"not heard for {first.silent_ms / 1000:.1f} s"
        problem = f"{len(strayed)} of {len(found)} are silent or do not trust the store: "
        advice = "see `authz sidecars`, and the log of that sidecar"
        return warn("sidecars", f"{problem}{first.sidecar.instance}: {why}", advice)
    return ok("sidecars", f"{len(found)} entries, all of sidecars")


async def limits(store: Store) -> Finding:
    """Check the limit counters of up to SAMPLE random keys, with their projects and tenants.

    Failure if any cannot be read. Raises Unavailable.
    """
    index = StoredIndex(store.client)
    kids = await index.sample(SAMPLE)
    found = await index.read(kids)
    records = [one for one in found if isinstance(one, KeyRecord)]
    projects = [pool_of_project(one, ()) for one in records if one.project_id]
    pools = {f"project:{pool.counter_id}" for pool in projects}
    pools |= {f"tenant:{one.tenant_id}" for one in records if one.tenant_id}
    groups = [*kids, *sorted(pools)]
    bad = await StoredCounters(store.client).garbled(groups)
    if bad:
        problem = f"{len(bad)} of a sample of {len(groups)} counters cannot be read: {bad[0]}"
        return fail("limits", problem, "authz keys reset-limits KID; DEL those of a pool")
    return ok("limits", f"all of a sample of {len(groups)} counters can be read")
