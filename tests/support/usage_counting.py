"""Usage in a real store, as a meter counts it."""

import asyncio
from collections.abc import Sequence

from authz.core.usage.counts import Level
from authz.core.usage.tally import Clocks
from authz.process.clock import SystemClock
from authz.storage.endpoint import Endpoint
from authz.storage.usage.usage_link import UsageLink
from tests.support.real import eventually
from tests.support.usage import committed

KEPT = dict.fromkeys(Level, 400 * 86_400)
DAY = 86_400_000


async def count_entries(endpoint: Endpoint, entries: Sequence[bytes], now: int) -> None:
    """Count these lines of a usage logger. now: ms since the epoch."""
    link = UsageLink(endpoint, SystemClock(), KEPT)
    run = asyncio.create_task(link.run())
    try:
        await eventually(lambda: not link.reason)
        commit = committed(*entries, clocks=Clocks.near(now, 200 * DAY, DAY))
        await link.commit(commit, [entries[0]], now)
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
