"""Usage of keys, counted as a meter counts it."""

import time
from typing import Any

from authz.wiring import administration
from tests.support.rpc.admin import AdminRig
from tests.support.usage import line
from tests.support.usage_counting import count_entries

MINUTE = 60_000


async def use(rig: AdminRig, kid: str, *minutes_ago: int, **fields: Any) -> None:
    """Count a request with a key for each of `minutes_ago`. fields: of its log line."""
    now = time.time_ns() // 1_000_000
    given = {"secret": "1", "milliseconds": "0"} | fields
    lines = [line(kid=kid, started=now - ago * MINUTE, **given) for ago in minutes_ago]
    await count_entries(administration.endpoint(rig.settings), lines, now)
