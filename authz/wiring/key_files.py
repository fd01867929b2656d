"""Composition root of the commands that export, compare and apply files of keys."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from authz.core.declared_changes import AsOf
from authz.core.selector import Selector
from authz.flows.applying import Applying
from authz.flows.bulk_change import BulkChange
from authz.flows.command_ports import KeyExporter
from authz.flows.declared_keys import StoreDeclaredKeys
from authz.flows.key_history import KeyHistory
from authz.flows.selection import Cost, Entry, Selection
from authz.process.clock import SystemClock
from authz.settings.model import Settings
from authz.wiring.administration import keyring, our_parts
from authz.wiring.session import FileSession
from authz.wiring.store_parts import StoreParts


class StoreExport:
    """KeyExporter over the store."""

    def __init__(self, selection: Selection, parts: StoreParts) -> None:
        self._selection = selection
        self._parts = parts

    def each(self, selector: Selector, cost: Cost) -> AsyncIterator[Entry]:
        """Yield every selected key. cost: is added to while it goes on. Raises Unavailable."""
        return self._selection.each(selector, cost)

    async def sequence(self) -> AsOf:
        """Implement KeyExporter.sequence. Raises Unavailable."""
        return await self._parts.sequence()

    async def refs(self) -> dict[str, str]:
        """Return the refs of keys that files introduced, by kid. Raises Unavailable."""
        return {kid: one.ref for kid, one in (await self._parts.applied.load()).items() if one.ref}


@asynccontextmanager
async def file_session(settings: Settings) -> AsyncIterator[FileSession]:
    """Yield a FileSession over the store, and close its client at the end.

    Raises BadInput for unusable settings, Unavailable if the store is unreachable, Emptied or
    Foreign if it is not ours.
    """
    ring, clock = keyring(settings), SystemClock()
    async with our_parts(settings, ring) as parts:
        selection, keys = Selection(parts.index, clock), parts.keys
        bulk = BulkChange(selection, keys, parts.batches, clock, parts.partitions)
        exporter = StoreExport(selection, parts)
        applying = Applying(
            exporter=exporter,
            keys=StoreDeclaredKeys(selection, bulk, keys, ring, clock),
            history=KeyHistory(parts.history),
            applied=parts.applied,
            clock=clock,
            partitions=parts.partitions,
        )
        yield FileSession(applying, exporter)


@asynccontextmanager
async def key_exporter(settings: Settings) -> AsyncIterator[KeyExporter]:
    """Yield the exporter of keys over the store. Raises the errors of `file_session`."""
    async with file_session(settings) as session:
        yield session.exporter
