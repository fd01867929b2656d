"""RegularDelivery: delivers events to all sinks, for as long as the process runs."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from authz.core.errors import Unavailable
from authz.core.notifications.ports import DeliveryProgress
from authz.flows.notifications.delivery import POLL, Delivery

LEASE_MS: Final = 10_000
RENEWAL: Final = 3.0  # seconds
STORE_PAUSE: Final = 5.0  # seconds after a failure of the store

log = logging.getLogger("authz.events")


class RegularDelivery:
    """Delivers while this process leads. Of several processes one leads, by a lease in the store.

    is_ours: whether the store is reachable and ours; else nothing is delivered. If the lease moves
    to another process, an event may arrive from both.
    """

    def __init__(
        self,
        deliveries: Sequence[Delivery],
        progress: DeliveryProgress,
        instance: str,
        is_ours: Callable[[], bool],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._deliveries = deliveries
        self._progress = progress
        self._instance = instance
        self._is_ours = is_ours
        self._sleep = sleep
        self._leads = False

    async def run(self) -> None:
        """Deliver until cancelled. A failure is logged, and the delivery to that sink repeated."""
        if not self._deliveries:
            return
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._lead())
            for delivery in self._deliveries:
                tasks.create_task(self._deliver(delivery))

    async def _lead(self) -> None:
        while True:
            try:
                self._leads = self._is_ours() and await self._progress.take_lease(
                    self._instance, LEASE_MS
                )
            except Unavailable:
                self._leads = False
            await self._sleep(RENEWAL)

    async def _deliver(self, delivery: Delivery) -> None:
        while True:
            pause = POLL
            if self._leads and self._is_ours():
                try:
                    pause = await delivery.deliver()
                except Unavailable as cause:
                    log.warning("%s: events wait: %s", delivery.sink, cause)
                    pause = STORE_PAUSE
                except Exception:
                    log.exception("%s: events wait because of a fault", delivery.sink)
                    pause = STORE_PAUSE
            await self._sleep(pause)
