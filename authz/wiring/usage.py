"""Composition root of commands about usage."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from authz.flows.selection import Selection
from authz.flows.usage.erasure import UsageErasure
from authz.flows.usage.reading import UsageReading
from authz.process.clock import SystemClock
from authz.settings.model import Settings
from authz.storage.keys import StoredKeys
from authz.storage.listing import StoredIndex
from authz.storage.trail import StoredRows
from authz.storage.usage.erasing import StoredEraser
from authz.wiring.administration import endpoint, keyring, our_store
from authz.wiring.usage_readers import usage_reading


@dataclass(frozen=True, slots=True)
class UsageSession:
    """The objects of commands about usage."""

    reading: UsageReading
    erasure: UsageErasure
    selection: Selection
    keys: StoredKeys


@asynccontextmanager
async def usage_session(settings: Settings) -> AsyncIterator[UsageSession]:
    """Yield a UsageSession, and close its client at the end.

    Raises the errors of `administration`.
    """
    ring = keyring(settings)
    async with our_store(settings, ring) as (client, keys):
        selection = Selection(StoredIndex(client), SystemClock())
        reading = usage_reading(client)
        rows = StoredRows(client, has_replicas=endpoint(settings).has_replicas)
        erasure = UsageErasure(StoredEraser(client), rows, SystemClock())
        yield UsageSession(reading, erasure, selection, keys)
