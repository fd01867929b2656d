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

CHECKS: Final[tuple[Callable[[Store], Awaitable[Finding]], ...]] = (
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
    try:
        await store.ping("check redis.url and that the store runs")
    except Unavailable as cause:
        problem, _, advice = str(cause).partition("; ")
        yield fail("store", problem, advice)
        return
    for check in CHECKS + (OF_CLUSTERS if store.names.is_clustered else ()):
        try:
            yield await check(store)
        except Unavailable as cause:
            yield warn(check.__name__, f"cannot be checked: {cause}", "check it by hand")
