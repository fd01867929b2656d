"""Composition root of the findings of `authz doctor` about the store."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace

from authz.core.finding import Finding
from authz.process.clock import SystemClock
from authz.settings.model import Settings
from authz.storage.inspection.checks import inspect
from authz.storage.inspection.store import Store
from authz.wiring.administration import endpoint, keyring


@asynccontextmanager
async def inspection(settings: Settings) -> AsyncIterator[AsyncIterator[Finding]]:
    """Yield the findings about the store, each made when it is asked for.

    Raises BadInput for unusable settings, Unavailable for an unusable TLS or password file. An
    unreachable store is a finding.
    """
    ring, where, clock = keyring(settings), endpoint(settings), SystemClock()
    deadline, has_replicas = settings.check.deadline, where.has_replicas
    async with AsyncExitStack() as stack:
        client, anonymous = await stack.enter_async_context(aclosing(where.client())), None
        if where.login():
            nobody = replace(where, username="", password_file=None)
            anonymous = await stack.enter_async_context(aclosing(nobody.client()))
        about = (ring.fingerprints, deadline, clock.wall_ms, has_replicas, anonymous)
        yield inspect(Store(client, *about, prefixes=ring.read_prefixes))
