"""Composition root of the findings of `authz doctor` about the store."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace

from authz.core.finding import Finding
from authz.process.clock import SystemClock
from authz.settings.model import Settings
from authz.storage.inspection.checks import inspect
from authz.storage.inspection.store import Store
from authz.wiring.administration import keyring, partitions, signpost
from authz.wiring.partition_count import resolved_if_possible


@asynccontextmanager
async def inspection(settings: Settings) -> AsyncIterator[AsyncIterator[Finding]]:
    """Yield the findings about the store, each made when it is asked for.

    Raises BadInput for unusable settings, Unavailable for an unusable TLS or password file. An
    unreachable store is a finding.
    """
    given = settings.redis.partitions
    settings = await resolved_if_possible(settings)
    ring, clock = keyring(settings), SystemClock()
    async with AsyncExitStack() as stack:
        stores = []
        for where in partitions(settings):
            client, anonymous = await stack.enter_async_context(aclosing(where.client())), None
            if where.login():
                nobody = replace(where, username="", password_file=None)
                anonymous = await stack.enter_async_context(aclosing(nobody.client()))
            about = (settings.check.deadline, clock.wall_ms, where.has_replicas, anonymous)
            prefixes = ring.read_prefixes
            stores.append(Store(client, ring.fingerprints, *about, prefixes=prefixes))
        sign = await stack.enter_async_context(signpost(settings))
        if sign is None:
            yield inspect(stores[0])
            return
        from authz.storage.inspection.partitions import inspect_partitions  # noqa: PLC0415

        yield inspect_partitions(stores, sign, given)
