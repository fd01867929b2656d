"""Composition root of commands about usage."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from authz.core.records import KeyRecord
from authz.core.usage.billing.ports import ClosedHours
from authz.core.usage.ports import UsageIndex
from authz.flows.partitioned.usage import PartitionedErasure
from authz.flows.selection import Selection
from authz.flows.usage.erasure import Erasure, UsageErasure
from authz.flows.usage.reading import UsageReading
from authz.flows.usage.reports import StoreUsage
from authz.process.billing_cursor import CursorOwner
from authz.settings.model import Settings
from authz.storage.trail import StoredRows
from authz.storage.usage.erasing import StoredEraser
from authz.wiring.administration import keyring, our_parts, partitions
from authz.wiring.session import UsageSession
from authz.wiring.store_parts import StoreParts
from authz.wiring.usage_readers import anomaly_reports, closed_hours, usage_index, usage_reading


@dataclass(frozen=True, slots=True)
class BillingSession:
    """The objects of an export of billing records. peppers: fingerprints of the store's peppers."""

    store: ClosedHours
    index: UsageIndex
    selection: Selection
    peppers: frozenset[str]

    async def key_records(self, kids: Sequence[str]) -> Mapping[str, KeyRecord]:
        """Return the records of those of some kids (at most 500) that have one."""
        entries = await self.selection.read(kids)
        return {entry.kid: entry.record for entry in entries if entry.record is not None}


@asynccontextmanager
async def usage_session(settings: Settings) -> AsyncIterator[UsageSession]:
    """Yield a UsageSession, and close its clients at the end.

    Raises the errors of `administration`.
    """
    async with our_parts(settings, keyring(settings), reads=True) as parts:
        selection = Selection(parts.index, parts.clock)
        erasure = usage_erasure(parts, has_replicas=partitions(settings)[0].has_replicas)
        anomalies = anomaly_reports(parts, selection, parts.clock)
        usage = StoreUsage(usage_reading(parts), erasure, selection, parts.keys, anomalies)
        yield UsageSession(usage, usage)


@asynccontextmanager
async def reading_session(settings: Settings) -> AsyncIterator[UsageReading]:
    """Yield the reading of usage alone. Raises the errors of `administration`."""
    async with our_parts(settings, keyring(settings), reads=True) as parts:
        yield usage_reading(parts)


@asynccontextmanager
async def billing_session(settings: Settings) -> AsyncIterator[BillingSession]:
    """Yield a BillingSession, and close its clients at the end.

    Raises the errors of `administration`.
    """
    ring = keyring(settings)
    async with our_parts(settings, ring, reads=True) as parts:
        yield BillingSession(
            closed_hours(parts),
            usage_index(parts),
            Selection(parts.index, parts.clock),
            frozenset(ring.fingerprints.values()),
        )


def usage_erasure(parts: StoreParts, *, has_replicas: bool) -> Erasure:
    """Return the erasure of facts about callers, which tells the trail of the key."""
    found = parts.each(
        lambda client: UsageErasure(
            StoredEraser(client), StoredRows(client, has_replicas=has_replicas), parts.clock
        )
    )
    return parts.joined(found, PartitionedErasure)


def cursor_owner(
    settings: Settings, peppers: frozenset[str], target: str, units: Sequence[str]
) -> CursorOwner:
    """Return the owner of the cursor of an export to a receiver. Raises BadInput."""
    where = partitions(settings)[0]
    return CursorOwner(
        namespace=settings.redis.namespace,
        database=where.db,
        peppers=peppers,
        target=target,
        units=", ".join(sorted(units)),
    )
