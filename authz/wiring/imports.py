"""Composition root of `authz keys import`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from authz.flows.importing import Importer
from authz.settings.model import Settings
from authz.wiring.administration import keyring, our_parts
from authz.wiring.session import ImportSession


@asynccontextmanager
async def importing(settings: Settings, actor: str, note: str) -> AsyncIterator[ImportSession]:
    """Yield the parts of an import that notes `actor` and `note` in the audit trail.

    Raises the errors of `administration`.
    """
    ring = keyring(settings)
    async with our_parts(settings, ring) as parts:
        importer = Importer(
            *(parts.imports, parts.index, parts.clock, actor, note), partitions=parts.partitions
        )
        yield ImportSession(importer, ring, settings.plans)
