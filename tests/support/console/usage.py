"""Usage of keys, counted as a meter counts it."""

import asyncio
import time
from typing import Any

from authz.core.usage.counts import Level
from authz.core.usage.tally import Clocks
from authz.process.clock import SystemClock
from authz.storage.usage.usage_link import UsageLink
from authz.wiring import administration
from tests.support.real import eventually
from tests.support.rpc.admin import AdminRig
from tests.support.usage import committed, line

KEPT = dict.fromkeys(Level, 400 * 86_400)
MINUTE = 60_000
DAY = 1440 * MINUTE


async def use(rig: AdminRig, kid: str, *minutes_ago: int, **fields: Any) -> None:
    """Count a request with a key for each of `minutes_ago`. fields: of its log line."""
    now = time.time_ns() // 1_000_000
    given = {"secret": "1", "milliseconds": "0"} | fields
    lines = [line(kid=kid, started=now - ago * MINUTE, **given) for ago in minutes_ago]
    link = UsageLink(administration.endpoint(rig.settings), SystemClock(), KEPT)
    run = asyncio.create_task(link.run())
    await eventually(lambda: not link.reason)
    commit = committed(*lines, clocks=Clocks.near(now, 200 * DAY, DAY))
    await link.commit(commit, [lines[0]], now)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
