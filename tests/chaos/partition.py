"""The administration of each partition of the store of an episode."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

from authz.core.keys.keyring import Keyring
from authz.flows.lifecycle import Lifecycle
from authz.storage.endpoint import Client, Endpoint
from authz.storage.keys import StoredKeys
from authz.storage.listing import StoredTrail
from authz.storage.registry import StoredSidecars
from tests.support.real import RealClock
from tests.support.storage.divided import client_at


@dataclass(frozen=True, slots=True)
class Partition:
    """The administration of a partition of the store.

    owner: of its keys. at_rest: while it is held, no change is under way.
    """

    owner: str
    client: Client
    store: StoredKeys
    lifecycle: Lifecycle
    directory: StoredSidecars
    trail: StoredTrail
    at_rest: asyncio.Lock = field(default_factory=asyncio.Lock)

    @classmethod
    @asynccontextmanager
    async def of(cls, endpoint: Endpoint, ring: Keyring) -> AsyncIterator["Partition"]:
        """Initialise a partition, and yield its administration."""
        async with aclosing(endpoint.client(timeout=1.0)) as client:
            store = StoredKeys(client, has_replicas=endpoint.has_replicas)
            await store.initialise(ring.fingerprints)
            owner = client_at(endpoint.partition, endpoint.count)
            flow = Lifecycle(store, ring, RealClock())
            yield cls(owner, client, store, flow, StoredSidecars(client), StoredTrail(client))
