"""Composition root of the commands that export, compare and apply files of keys."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from authz.core.keys.keyring import Keyring
from authz.core.selector import Selector
from authz.flows.applying import Applying
from authz.flows.bulk_change import BulkChange
from authz.flows.key_history import KeyHistory
from authz.flows.selection import Cost, Entry, Selection
from authz.process.clock import SystemClock
from authz.settings.model import Settings
from authz.storage.applied import StoredApplied
from authz.storage.batches import StoredBatches
from authz.storage.keys import StoredKeys
from authz.storage.listing import StoredIndex, StoredTrail
from authz.wiring.administration import keyring, our_store


@dataclass(frozen=True, slots=True)
class FileSession:
    """The objects of these commands."""

    applying: Applying
    selection: Selection
    keyring: Keyring
    keys: StoredKeys
    applied: StoredApplied

    def each(self, selector: Selector, cost: Cost) -> AsyncIterator[Entry]:
        """Yield every selected key. cost: is added to while it goes on. Raises Unavailable."""
        return self.selection.each(selector, cost)

    async def sequence(self) -> int:
        """Return the number of the store's last change. Raises Unavailable."""
        return await self.keys.sequence()

    async def refs(self) -> dict[str, str]:
        """Return the refs of keys that files introduced, by kid. Raises Unavailable."""
        return {kid: one.ref for kid, one in (await self.applied.load()).items() if one.ref}


@asynccontextmanager
async def file_session(settings: Settings) -> AsyncIterator[FileSession]:
    """Yield a FileSession, and close its client at the end.

    Raises BadInput for unusable settings, Unavailable if the store is unreachable, Emptied or
    Foreign if it is not ours.
    """
    ring, clock = keyring(settings), SystemClock()
    async with our_store(settings, ring) as (client, keys):
        selection, applied = Selection(StoredIndex(client), clock), StoredApplied(client)
        applying = Applying(
            selection=selection,
            bulk=BulkChange(selection, keys, StoredBatches(client), clock),
            keys=keys,
            history=KeyHistory(StoredTrail(client)),
            applied=applied,
            clock=clock,
        )
        yield FileSession(applying, selection, ring, keys, applied)
