"""Composition root of commands that find many keys or change them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from authz.core.keys.keyring import Keyring
from authz.flows.bulk_change import BulkChange
from authz.flows.deletion import Deletion
from authz.flows.key_history import KeyHistory
from authz.flows.limits.credit_report import CreditReports
from authz.flows.selection import Selection
from authz.flows.usage.last_use import LastUse
from authz.flows.usage.reading import UsageReading
from authz.process.clock import SystemClock
from authz.settings.model import Settings
from authz.storage.batches import StoredBatches
from authz.storage.deletions import StoredDeletions
from authz.storage.keys import StoredKeys
from authz.storage.limits.stored_counters import StoredCredits
from authz.storage.listing import StoredIndex, StoredTrail
from authz.storage.registry import StoredSidecars
from authz.storage.usage.erasing import StoredEraser
from authz.storage.usage.many_keys import StoredUsageIndex
from authz.storage.usage.stored_usage import StoredUsage
from authz.wiring.administration import keyring, limit_policy, our_store
from authz.wiring.usage import usage_reading


@dataclass(frozen=True, slots=True)
class BulkSession:
    """The objects of commands that find many keys or change them."""

    selection: Selection
    bulk: BulkChange
    deletion: Deletion
    keys: StoredKeys
    history: KeyHistory
    keyring: Keyring
    sidecars: StoredSidecars
    usage: UsageReading
    credits: CreditReports


@asynccontextmanager
async def bulk_session(settings: Settings) -> AsyncIterator[BulkSession]:
    """Yield a BulkSession, and close its client at the end.

    Raises the errors of `administration`.
    """
    ring, clock = keyring(settings), SystemClock()
    async with our_store(settings, ring) as (client, keys):
        stored, index = StoredUsage(client), StoredUsageIndex(client)
        selection = Selection(StoredIndex(client), clock, LastUse(index, stored, clock))
        bulk = BulkChange(selection, keys, StoredBatches(client), clock)
        deletion = Deletion(keys, StoredDeletions(client), StoredEraser(client), clock)
        history = KeyHistory(StoredTrail(client))
        sidecars, usage = (
            StoredSidecars(client, settings.fleet.sidecars),
            usage_reading(stored, index),
        )
        reports = CreditReports(StoredCredits(client), limit_policy(settings))
        yield BulkSession(
            *(selection, bulk, deletion, keys, history, ring, sidecars, usage), credits=reports
        )
