"""Composition root of commands about usage."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from authz.core.records import KeyRecord
from authz.flows.selection import Selection
from authz.flows.usage.erasure import UsageErasure
from authz.flows.usage.reading import UsageReading
from authz.flows.usage.reports import StoreUsage
from authz.process.billing_cursor import CursorOwner
from authz.process.clock import SystemClock
from authz.settings.model import Settings
from authz.storage.listing import StoredIndex
from authz.storage.trail import StoredRows
from authz.storage.usage.closed_hours import StoredClosedHours
from authz.storage.usage.erasing import StoredEraser
from authz.storage.usage.many_keys import StoredUsageIndex
from authz.wiring.administration import endpoint, keyring, our_store
from authz.wiring.session import UsageSession
from authz.wiring.usage_readers import anomaly_reports, usage_reading


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


@asynccontextmanager
async def usage_session(settings: Settings) -> AsyncIterator[UsageSession]:
    """Yield a UsageSession, and close its client at the end.

    Raises the errors of `administration`.
    """
    async with our_store(settings, keyring(settings)) as (client, keys):
        selection = Selection(StoredIndex(client), SystemClock())
        reading = usage_reading(client)
        rows = StoredRows(client, has_replicas=endpoint(settings).has_replicas)
        erasure = UsageErasure(StoredEraser(client), rows, SystemClock())
        anomalies = anomaly_reports(client, selection, SystemClock())
        usage = StoreUsage(reading, erasure, selection, keys, anomalies)
        yield UsageSession(usage, usage)


@asynccontextmanager
async def reading_session(settings: Settings) -> AsyncIterator[UsageReading]:
    """Yield the reading of usage alone. Raises the errors of `administration`."""
    async with our_store(settings, keyring(settings)) as (client, _):
        yield usage_reading(client)


@asynccontextmanager
async def billing_session(settings: Settings) -> AsyncIterator[BillingSession]:
    """Yield a BillingSession, and close its client at the end.

    Raises the errors of `administration`.
    """
    ring = keyring(settings)
    async with our_store(settings, ring) as (client, _):
        yield BillingSession(
            StoredClosedHours(client),
            StoredUsageIndex(client),
            Selection(StoredIndex(client), SystemClock()),
            frozenset(ring.fingerprints.values()),
        )


def cursor_owner(
    settings: Settings, peppers: frozenset[str], target: str, units: Sequence[str]
) -> CursorOwner:
    """Return the owner of the cursor of an export to a receiver. Raises BadInput."""
    where = endpoint(settings)
    return CursorOwner(
        namespace=settings.redis.namespace,
        database=where.db,
        peppers=peppers,
        target=target,
        units=", ".join(sorted(units)),
    )
