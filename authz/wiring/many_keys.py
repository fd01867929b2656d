"""Composition root of commands that find many keys or change them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from authz.flows.bulk_change import BulkChange
from authz.flows.command_ports import (
    CreditReader,
    KeyFinder,
    KeyReader,
    LimitReader,
    ManyKeysEditor,
    UseReader,
)
from authz.flows.deletion import Deletion
from authz.flows.editing import StoreManyKeys
from authz.flows.key_history import KeyHistory
from authz.flows.limits.credit_report import CreditReports
from authz.flows.limits.limit_report import LimitReports
from authz.flows.selection import Selection
from authz.flows.usage.last_use import LastUse
from authz.process.clock import SystemClock
from authz.settings.model import Settings
from authz.storage.batches import StoredBatches
from authz.storage.deletions import StoredDeletions
from authz.storage.limits.stored_counters import StoredCounters, StoredCredits
from authz.storage.listing import StoredIndex, StoredTrail
from authz.storage.registry import StoredSidecars
from authz.storage.usage.erasing import StoredEraser
from authz.storage.usage.many_keys import StoredUsageIndex
from authz.storage.usage.stored_usage import StoredUsage
from authz.wiring.administration import keyring, limit_policy, our_store
from authz.wiring.usage import usage_reading


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkSession:
    """The objects of commands that find many keys or change them."""

    finder: KeyFinder
    many: ManyKeysEditor
    keys: KeyReader
    history: KeyHistory
    usage: UseReader
    credits: CreditReader
    limits: LimitReader


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
        registry, policy = StoredSidecars(client, settings.fleet.sidecars), limit_policy(settings)
        yield BulkSession(
            finder=selection,
            many=StoreManyKeys(bulk, deletion, registry, clock),
            keys=keys,
            history=KeyHistory(StoredTrail(client)),
            usage=usage_reading(stored, index),
            credits=CreditReports(StoredCredits(client), policy),
            limits=LimitReports(StoredCounters(client), policy, clock),
        )
