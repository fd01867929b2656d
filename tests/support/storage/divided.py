"""A store with several partitions, and keys in each of them."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial
from typing import Any

from authz.core.new_keys import KeySpec
from authz.core.partitions import Partitions
from authz.core.records import RevocationReason
from authz.flows.lifecycle import Changed, Lifecycle
from authz.settings.model import Settings
from authz.storage.keys import StoredKeys
from authz.storage.limits.stored_counters import StoredCounters
from authz.wiring import administration
from tests.support.real import RealClock


def client_at(partition: int, count: int) -> str:
    """Return a client whose keys are at home in a partition."""
    names = (f"client-{number}" for number in itertools.count())
    return next(name for name in names if Partitions(count).home(name) == partition)


class Divided:
    """The administration of each partition."""

    def __init__(self, flows: list[Lifecycle]) -> None:
        self.flows = flows
        self._of = Partitions(len(flows)).of

    async def issue(self, partition: int, **fields: Any) -> Changed:
        """Issue a key in a partition."""
        flow = self.flows[partition]
        client = client_at(partition, len(self.flows))
        spec = KeySpec(**{"client_id": client, "env": "live", "life_ms": None} | fields)
        return await flow.issue(spec, flow.author("tests"))

    async def issue_everywhere(self, **fields: Any) -> list[Changed]:
        """Issue a key in each partition, in order."""
        return [await self.issue(partition, **fields) for partition in range(len(self.flows))]

    async def revoke(self, kid: str) -> Changed:
        """Revoke a key."""
        flow = self.flows[self._of(kid)]
        return await flow.revoke(kid, RevocationReason.UNSPECIFIED, flow.author("tests"))


@asynccontextmanager
async def divided(settings: Settings) -> AsyncIterator[Divided]:
    """Initialise each partition of the store of these settings, and yield its administration."""
    ring = administration.keyring(settings)
    async with AsyncExitStack() as stack:
        flows = []
        for where in administration.partitions(settings):
            client = await stack.enter_async_context(aclosing(where.client()))
            keys = StoredKeys(client, has_replicas=where.has_replicas)
            await keys.initialise(ring.fingerprints, ring.prefixes, is_compact=True)
            flows.append(Lifecycle(keys, ring, RealClock(), partial(StoredCounters, client)))
        yield Divided(flows)


def issued_in_each(settings: Settings, **fields: Any) -> list[Changed]:
    """Initialise the store of these settings and issue a key in each partition."""

    async def issue() -> list[Changed]:
        async with divided(settings) as store:
            return await store.issue_everywhere(**fields)

    return asyncio.run(issue())
