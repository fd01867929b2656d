"""Composition root of the commands about leaked keys."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from authz.flows.identification import Identification
from authz.flows.lifecycle import Lifecycle
from authz.process.clock import SystemClock
from authz.settings.model import Settings
from authz.storage.meta import KnownPeppers
from authz.wiring.administration import keyring, our_parts


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
    async with our_parts(settings, ring) as parts:
        imports = parts.imports if await parts.has_imports() else None
        peppers = KnownPeppers(await parts.peppers(), ring.fingerprints)
        yield LeakSession(
            Identification(ring, parts.index, imports, clock, peppers=peppers),
            Lifecycle(parts.keys, ring, clock, lambda: parts.counters),
        )
