"""Usage in a real store, as a meter counts it."""

import asyncio
from collections.abc import Sequence

from authz.core.partitions import Partitions
from authz.core.usage.counts import Level
from authz.core.usage.parts import Parts
from authz.core.usage.tally import Clocks
from authz.process.clock import SystemClock
from authz.storage.endpoint import Endpoint
from authz.storage.usage.usage_link import UsageLink
from tests.support.real import eventually
from tests.support.usage import committed

KEPT = dict.fromkeys(Level, 400 * 86_400)
DAY = 86_400_000


async def count_entries(endpoint: Endpoint, entries: Sequence[bytes], now: int) -> None:
    """Count these lines of a usage logger, in all partitions. now: ms since the epoch."""
    parts, clocks = Parts(Partitions(endpoint.count)).of(entries), Clocks.near(now, 200 * DAY, DAY)
    for at, part in parts.items():
        link = UsageLink(endpoint.partitions()[at], SystemClock(), KEPT)
        run = asyncio.create_task(link.run())
        try:
            await eventually(lambda: not link.reason)  # noqa: B023  it is asked in this turn
            await link.commit(committed(*part, clocks=clocks), [entries[0]], now)
        finally:
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)
