"""DeliveryTries: takes a new secret to its target, and says what a refusal proves.

Before a try the store says who tries. Two processes never both make the first try, and no process
rolls back a secret that another one may have delivered.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final

from authz.core.begun_delivery import BegunDelivery, Claim
from authz.core.delivery import Arrival, Parcel, Undelivered
from authz.core.errors import Unavailable
from authz.flows.changed_problems import ChangedProblems
from authz.flows.delivery_entries import change_entry
from authz.flows.delivery_ports import PendingDeliveries, Target

PAUSES: Final = (1.0, 3.0)  # seconds before the second and the third try of one call


class DeliveryTries:
    """Tries deliveries. targets: by name. counts: how many calls of `deliver` tried, by result.

    Methods raise Unavailable if the store fails.
    """

    def __init__(
        self,
        pending: PendingDeliveries,
        targets: Mapping[str, Target],
        log: logging.Logger,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._pending = pending
        self._targets = targets
        self._sleep = sleep
        self._problems = ChangedProblems(log)
        self.counts: dict[Arrival, int] = dict.fromkeys(Arrival, 0)

    async def deliver(
        self, kid: str, entry: BegunDelivery, parcel: Parcel, pauses: tuple[float, ...]
    ) -> tuple[BegunDelivery, Arrival, str] | None:
        """Deliver a secret. Return the entry as it is then, the result, and why it is not there.

        UNDONE: the target refused the first try of all processes, so no holder has the secret. Not
        if the old secret is leaked: then it must not come back. None: another process has changed
        the entry. A process without the target does not try, and leaves the entry as it is.
        """
        target = self._targets.get(entry.target)
        if target is None:
            why = f"the settings have no target {entry.target}"
            self._problems.tell(kid, f"the new secret of {kid} waits: {why}")
            return entry, Arrival.PENDING, why
        claimed = await self._claim(kid, entry)
        if claimed is None:
            return None
        is_first = claimed.claim is Claim.CLAIMED and not claimed.is_leaked
        arrival, why = await self._send(target, parcel, pauses, is_first=is_first)
        if arrival is Arrival.UNDONE:
            refused = await change_entry(self._pending, kid, replace(claimed, claim=Claim.REFUSED))
            if refused is None:  # another process tries it now, perhaps with success
                arrival = Arrival.PENDING
            claimed = refused or claimed
        self.counts[arrival] += 1
        if arrival is not Arrival.DELIVERED:
            self._problems.tell(kid, f"the new secret of {kid} is {arrival.value}: {why}")
        if arrival is not Arrival.PENDING:
            self._problems.clear(kid)
        return claimed, arrival, why

    async def _claim(self, kid: str, entry: BegunDelivery) -> BegunDelivery | None:
        """Return the entry once it says that this process tries; None if it has changed."""
        claim = Claim.CLAIMED if entry.claim is Claim.NONE else Claim.SHARED
        return await change_entry(self._pending, kid, replace(entry, claim=claim))

    async def _send(
        self, target: Target, parcel: Parcel, pauses: tuple[float, ...], *, is_first: bool
    ) -> tuple[Arrival, str]:
        """Send a secret. UNDONE: the target refused it, and `is_first` says that nobody tried."""
        why = ""
        for pause in (0.0, *pauses):
            if pause:
                await self._sleep(pause)
            try:
                await target.deliver(parcel)
            except Undelivered as cause:
                return Arrival.UNDONE if is_first else Arrival.PENDING, str(cause)
            except Unavailable as cause:
                why, is_first = str(cause), False
            else:
                return Arrival.DELIVERED, ""
        return Arrival.PENDING, why
