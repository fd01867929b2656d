"""Caches to test with."""

import asyncio
from collections.abc import Iterable
from typing import Any

from authz.core.ports import Clock, KeySource, Probe
from authz.core.records import KeyRecord
from authz.flows.keycache import KeyCache
from tests.support.fakes import MemoryKeySource

USUAL = {
    "ttl": 60.0,
    "negative_ttl": 5.0,
    "max_entries": 1000,
    "max_negatives": 1000,
    "deadline": 30.0,
}


def make_cache(
    source: KeySource,
    clock: Clock,
    probe: Probe,
    *,
    kind: type[KeyCache] = KeyCache,
    **settings: Any,
) -> KeyCache:
    """Return a cache, or a mutant of it. Values that a test does not set are ample."""
    return kind(source, clock, probe, **USUAL | settings)


async def filled(records: Iterable[KeyRecord], clock: Clock, probe: Probe) -> KeyCache:
    """Return a cache that is trusted for ever and holds these records for a day."""
    source = MemoryKeySource()
    cache = make_cache(source, clock, probe, ttl=86_400)
    cache.trust(float("inf"))
    for record in records:
        source.records[record.kid] = record
        finding = asyncio.create_task(cache.find(record.kid))
        while not source.pending:
            await asyncio.sleep(0)
        source.answer_all()
        await finding
    return cache
