"""Repeat the look of a work at the store, such as the search for keys that are due."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from logging import Logger

from authz.core.errors import Unavailable, Unreadable


@dataclass(frozen=True, slots=True)
class RepeatedLooks:
    """When a work looks, and how the log says that a look failed.

    pause: seconds between two looks. late: what comes later then.
    """

    pause: float
    late: str
    log: Logger

    async def run(
        self,
        look: Callable[[], Awaitable[object]],
        is_ours: Callable[[], bool],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Look now and after each pause, until cancelled.

        is_ours: whether the store is reachable and ours; else a look is left out. Unavailable and
        Unreadable are logged, not raised.
        """
        while True:
            if is_ours():
                try:
                    await look()
                except (Unavailable, Unreadable) as cause:
                    self.log.warning("%s: %s", self.late, cause)
            await sleep(self.pause)
