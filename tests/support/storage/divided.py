"""A store with several partitions, and keys in each of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial
from typing import Any

from authz.core.keys.keyring import Keyring, Minted
from authz.core.keys.text import new_kid
from authz.core.new_keys import KeySpec
from authz.core.partitions import Partitions
from authz.core.records import RevocationReason
from authz.flows.lifecycle import Changed, Lifecycle
from authz.settings.model import Settings
from authz.storage.keys import StoredKeys
from authz.wiring import administration
from tests.support.real import RealClock


def at_home(keyring: Keyring, partition: int, count: int) -> Keyring:
    """Make this keyring mint new kids of one partition only, and return it."""
    mint, of = keyring.mint, Partitions(count).of

    def minted(env: str, kid: str | None = None, **options: bool) -> Minted:
        while kid is None or of(kid) != partition:
            kid = new_kid()
        return mint(env, kid, **options)

    keyring.mint = minted  # type: ignore[method-assign]
    return keyring


class Divided:
    """The administration of each partition."""

    def __init__(self, flows: list[Lifecycle]) -> None:
        self.flows = flows
        self._of = Partitions(len(flows)).of

    async def issue(self, partition: int, **fields: Any) -> Changed:
        """Issue a key in a partition."""
        flow = self.flows[partition]
        spec = KeySpec(**{"client_id": "acme", "env": "live", "life_ms": None} | fields)
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
    stores = administration.partitions(settings)
    async with AsyncExitStack() as stack:
        flows = []
        for where in stores:
            client = await stack.enter_async_context(aclosing(where.client()))
            keys = StoredKeys(client, has_replicas=where.has_replicas)
            ring = administration.keyring(settings)
            await keys.initialise(ring.fingerprints, ring.prefixes, is_compact=True)
            counters = partial(administration.limit_counters, client)
            ring = at_home(ring, where.partition, where.count)
            flows.append(Lifecycle(keys, ring, RealClock(), counters))
        yield Divided(flows)


def issued_in_each(settings: Settings, **fields: Any) -> list[Changed]:
    """Initialise the store of these settings and issue a key in each partition."""

    async def issue() -> list[Changed]:
        async with divided(settings) as store:
            return await store.issue_everywhere(**fields)

    return asyncio.run(issue())
