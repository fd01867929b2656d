"""Composition root of the commands that change many keys."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from authz.core.keys.keyring import Keyring
from authz.flows.bulk_change import BulkChange
from authz.flows.deletion import Deletion
from authz.flows.selection import Selection
from authz.process.clock import SystemClock
from authz.settings.model import Settings
from authz.storage.batches import StoredBatches
from authz.storage.deletions import StoredDeletions
from authz.storage.listing import StoredIndex
from authz.storage.registry import StoredSidecars
from authz.storage.usage.erasing import StoredEraser
from authz.wiring.administration import keyring, our_store
from authz.wiring.usage_readers import last_use


@dataclass(frozen=True, slots=True)
class BulkSession:
    """The objects of these commands."""

    bulk: BulkChange
    deletion: Deletion
    keyring: Keyring
    sidecars: StoredSidecars


@asynccontextmanager
async def bulk_session(settings: Settings) -> AsyncIterator[BulkSession]:
    """Yield a BulkSession, and close its client at the end.

    Raises the errors of `administration`.
    """
    ring, clock = keyring(settings), SystemClock()
    async with our_store(settings, ring) as (client, keys):
        selection = Selection(StoredIndex(client), clock, last_use(client))
        bulk = BulkChange(selection, keys, StoredBatches(client), clock)
        deletion = Deletion(keys, StoredDeletions(client), StoredEraser(client), clock)
        yield BulkSession(bulk, deletion, ring, StoredSidecars(client))
