"""Composition root of `authz keys import`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from authz.flows.importing import Importer
from authz.process.clock import SystemClock
from authz.settings.model import Settings
from authz.storage.imports import StoredImports
from authz.storage.listing import StoredIndex
from authz.wiring.administration import keyring, our_store
from authz.wiring.session import ImportSession


@asynccontextmanager
async def importing(settings: Settings, actor: str, note: str) -> AsyncIterator[ImportSession]:
    """Yield the parts of an import that notes `actor` and `note` in the audit trail.

    Raises the errors of `administration`.
    """
    ring = keyring(settings)
    async with our_store(settings, ring) as (client, _):
        index = StoredIndex(client)
        importer = Importer(StoredImports(client), index, SystemClock(), actor, note)
        yield ImportSession(importer, ring, settings.plans)
