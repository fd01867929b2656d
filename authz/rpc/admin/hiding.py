"""Times of answers: none tells whether a key outside of the caller's tenants exists.

Such a key and one that does not exist cost the store the same, but reading a record takes us some
microseconds. So the answers about both wait for the same moment.
"""

import asyncio
import math
from typing import Final

from authz.core.access import Caller
from authz.core.ports import Clock

HIDDEN_SECONDS: Final = 0.02


async def hide_time(caller: Caller, began: float, clock: Clock) -> None:
    """Wait until a whole number of HIDDEN_SECONDS (20 ms) after `began`, the arrival of the call.

    began: by `Clock.monotonic`. Do not wait for a caller who may see every key.
    """
    if any(one.is_unbound for one in caller.bindings):
        return
    taken = clock.monotonic() - began
    await asyncio.sleep(math.ceil(taken / HIDDEN_SECONDS) * HIDDEN_SECONDS - taken)
