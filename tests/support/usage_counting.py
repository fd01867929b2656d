"""Usage in a real store, as a meter counts it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from authz.core.keys.text import KID_PATTERN
from authz.core.partitions import Partitions
from authz.core.usage.counts import Level
from authz.core.usage.tally import Clocks
from authz.storage.endpoint import Endpoint
from authz.storage.usage.usage_link import UsageLink
from tests.support.real import RealClock, Valkey, eventually
from tests.support.storage import stored
from tests.support.usage import committed

KEPT = dict.fromkeys(Level, 400 * 86_400)
DAY = 86_400_000


@contextlib.asynccontextmanager
async def link_of(
    endpoint: Endpoint, kept: Mapping[Level, int] = KEPT, **options: Any
) -> AsyncIterator[UsageLink]:
    """Yield a UsageLink that runs. kept: seconds. options: others of the link."""
    link = UsageLink(endpoint, RealClock(), kept, **options)
    run = asyncio.create_task(link.run())
    try:
        yield link
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


@contextlib.asynccontextmanager
async def open_link(
    endpoint: Endpoint, kept: Mapping[Level, int] = KEPT, **options: Any
) -> AsyncIterator[UsageLink]:
    """Yield a UsageLink that has reached its store. kept, options: as of `link_of`."""
    async with link_of(endpoint, kept, **options) as link:
        await eventually(lambda: not link.reason)
        yield link


def linked(
    valkey: Valkey, kept: Mapping[Level, int] = KEPT, **options: Any
) -> contextlib.AbstractAsyncContextManager[UsageLink]:
    """Set up a store, unless it is, and return `open_link` to it."""
    valkey.admin.hset(stored.META, "schema", "1")
    return open_link(valkey.endpoint, kept, **options)


async def count_entries(endpoint: Endpoint, entries: Sequence[bytes], now: int) -> None:
    """Count these lines of a usage logger, in all partitions. now: ms since the epoch.

    The kid of a key leads to its home, whatever owner the lines name.
    """
    parts, clocks = dict[int, list[bytes]](), Clocks.near(now, 200 * DAY, DAY)
    for one in entries:
        kid = one.split(b" ", 3)[2].decode("latin-1")
        at = Partitions(endpoint.count).of(kid) if KID_PATTERN.fullmatch(kid) else 0
        parts.setdefault(at, []).append(one)
    for at, part in parts.items():
        async with open_link(endpoint.partitions()[at]) as link:
            await link.commit(committed(*part, clocks=clocks), [entries[0]], now)
