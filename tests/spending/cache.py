"""A cache that is trusted for ever and holds some records."""

import asyncio

from authz.flows.keycache import KeyCache
from tests.fakes import MemoryKeySource


async def filled(records, clock, probe):
    """The cache."""
    source = MemoryKeySource()
    cache = KeyCache(
        source,
        clock,
        probe,
        ttl=86_400,
        negative_ttl=5,
        max_entries=1000,
        max_negatives=100,
        deadline=5,
    )
    cache.trust(float("inf"))
    for record in records:
        source.records[record.kid] = record
        finding = asyncio.create_task(cache.find(record.kid))
        while not source.pending:
            await asyncio.sleep(0)
        source.answer_all()
        await finding
    return cache
