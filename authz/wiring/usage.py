"""Composition root of commands about usage."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from authz.core.records import KeyRecord
from authz.flows.command_ports import CallerEraser, UsageReports
from authz.flows.selection import Selection
from authz.flows.usage.erasure import UsageErasure
from authz.flows.usage.reading import UsageReading
from authz.process.clock import SystemClock
from authz.settings.model import Settings
from authz.storage.listing import StoredIndex
from authz.storage.trail import StoredRows
from authz.storage.usage.closed_hours import StoredClosedHours
from authz.storage.usage.erasing import StoredEraser
from authz.storage.usage.many_keys import StoredUsageIndex
from authz.storage.usage.stored_usage import StoredUsage
from authz.wiring.administration import endpoint, keyring, our_store


@dataclass(frozen=True, slots=True)
class UsageSession:
    """The objects of commands about usage."""

    reports: UsageReports
    eraser: CallerEraser


@dataclass(frozen=True, slots=True)
class BillingSession:
    """The objects of an export of billing records. peppers: fingerprints of the store's peppers."""

    store: StoredClosedHours
    index: StoredUsageIndex
    selection: Selection
    peppers: frozenset[str]

    async def key_records(self, kids: Sequence[str]) -> Mapping[str, KeyRecord]:
        """Return the records of those of some kids (at most 500) that have one."""
        entries = await self.selection.read(kids)
        return {entry.kid: entry.record for entry in entries if entry.record is not None}


def usage_reading(stored: StoredUsage, index: StoredUsageIndex) -> UsageReading:
    """Return the reading of usage."""
    return UsageReading(stored, stored, index, index, SystemClock())


@asynccontextmanager
async def usage_session(settings: Settings) -> AsyncIterator[UsageSession]:
    """Yield a UsageSession, and close its client at the end.

    Raises the errors of `administration`.
    """
    async with our_store(settings, keyring(settings)) as (client, keys):
        selection = Selection(StoredIndex(client), SystemClock())
        reading = usage_reading(StoredUsage(client), StoredUsageIndex(client))
        rows = StoredRows(client, has_replicas=endpoint(settings).has_replicas)
        erasure = UsageErasure(StoredEraser(client), rows, SystemClock())


from authz.core.records import KeyRecord
from authz.flows.command_ports import CallerEraser, UsageReports
from authz.flows.selection import Selection
from authz.flows.usage.reading import UsageReading
