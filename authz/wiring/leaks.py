"""Composition root of the commands about leaked keys."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from authz.flows.identification import Identification
from authz.flows.lifecycle import Lifecycle
from authz.process.clock import SystemClock
from authz.settings.model import Settings
from authz.storage.imports import StoredImports
from authz.storage.limits.stored_counters import StoredCounters
from authz.storage.listing import StoredIndex
from authz.storage.meta import KnownPeppers
from authz.wiring.administration import keyring, our_store


@dataclass(frozen=True, slots=True)
class LeakSession:
    """The objects of these commands."""

    identification: Identification
    lifecycle: Lifecycle


@asynccontextmanager
async def leak_session(settings: Settings) -> AsyncIterator[LeakSession]:
    """Yield a LeakSession, and close its client at the end.

    Raises BadInput for unusable settings, Unavailable if the store is unreachable or not ours.
    """
    ring, clock = keyring(settings), SystemClock()
    async with our_store(settings, ring) as (client, keys):
        imports = StoredImports(client) if await keys.has_imports() else None
        peppers = KnownPeppers(await keys.peppers(), ring.fingerprints)
        yield LeakSession(
            Identification(ring, StoredIndex(client), imports, clock, peppers=peppers),
            Lifecycle(keys, ring, clock, partial(StoredCounters, client)),
        )
