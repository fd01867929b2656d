"""The checks whether a store is fit for keys. Each is a function that returns one finding.

No check changes anything. If the store refuses a command that a check needs (managed stores forbid
many), the finding is a warning, not a failure.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from authz.core.errors import Unavailable
from authz.core.finding import Finding, fail, warn
from authz.storage.inspection import cluster, data, rights, server
from authz.storage.inspection.store import Store

Check = Callable[[Store], Awaitable[Finding]]

CHECKS: Final[tuple[Check, ...]] = (
    server.version,
    data.identity,
    data.types,
    data.changes,
    server.access,
    server.eviction,
    server.memory,
    server.persistence,
    server.replication,
    server.clock,
    server.latency,
    rights.serving,
    rights.counting,
    rights.registering,
    rights.indexing,
    rights.changing,
    data.records,
    data.seals,
    data.imports,
    data.functions,
    data.sidecars,
    data.limits,
)
OF_CLUSTERS: Final = (cluster.cluster,)


async def inspect(store: Store) -> AsyncIterator[Finding]:
    """Yield every finding in the order of CHECKS; only one, a failure, if the store is unreachable.

    For a cluster those of OF_CLUSTERS follow. A check that raises Unavailable yields a warning.
    """
    if problem := await reached(store):
        yield problem
        return
    for check in checks_of(store):
        yield await made(check, store)


async def reached(store: Store) -> Finding | None:
    """Return None if the store answers, else the failure."""
    try:
        await store.ping("check redis.url and that the store runs")
    except Unavailable as cause:
        problem, _, advice = str(cause).partition("; ")
        return fail("store", problem, advice)
    return None


def checks_of(store: Store) -> tuple[Check, ...]:
    """Return the checks of a store of this kind, in order."""
    return CHECKS + (OF_CLUSTERS if store.names.is_clustered else ())


async def made(check: Check, store: Store) -> Finding:
    """Return the finding of a check; a warning if the check is not possible."""
    try:
        return await check(store)
    except Unavailable as cause:
        name = getattr(check, "__name__", "store")
        return warn(name, f"cannot be checked: {cause}", "check it by hand")
