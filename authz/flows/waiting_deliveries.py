"""WaitingDeliveries: the deliveries of new secrets that have begun and have not arrived."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from authz.core.admin_ports import RecordReader
from authz.core.begun_delivery import BegunDelivery, DeliveryState
from authz.core.errors import Unreadable
from authz.core.ports import Clock
from authz.core.records import KeyRecord
from authz.flows.delivery_ports import PendingDeliveries

CHUNK: Final = 200  # records that are read at once

Place = tuple[int, str]
"""The place of a delivery in the list: when it began (ms), and the kid of its key."""


@dataclass(frozen=True, slots=True)
class WaitingDelivery:
    """A delivery that waits. secret: number of the new one. began_at: ms since the epoch.

    is_undecided: a person has to decide, see core/begun_delivery.py.
    """

    record: KeyRecord
    target: str
    secret: str
    began_at: int
    is_undecided: bool

    @property
    def place(self) -> Place:
        """The place of the delivery in the list."""
        return self.began_at, self.record.kid


class WaitingDeliveryFinder(Protocol):
    """Finds the deliveries that wait."""

    async def find(self, kid: str = "") -> Sequence[WaitingDelivery]:
        """Return the deliveries that wait, the oldest first. Raises Unavailable.

        kid: MUST leave out those of other keys; empty: of all keys.
        """
        ...


class WaitingDeliveries:
    """Finds deliveries in the store. Methods raise Unavailable.

    Left out: those of keys that are gone or cannot be read, and those that a person has ended.
    """

    def __init__(self, pending: PendingDeliveries, records: RecordReader, clock: Clock) -> None:
        self._pending = pending
        self._records = records
        self._clock = clock

    async def find(
        self, kid: str = "", keep: Callable[[KeyRecord], bool] | None = None
    ) -> Sequence[WaitingDelivery]:
        """Return the deliveries that wait, the oldest first.

        kid: of this key alone. keep: leaves out keys that the reader may not see.
        """
        entries = await self._pending.all()
        kids = [one for one in entries if kid in {"", one}]
        found = list[WaitingDelivery]()
        for start in range(0, len(kids), CHUNK):
            for record in await self._records.read(kids[start : start + CHUNK]):
                if isinstance(record, KeyRecord) and (keep is None or keep(record)):
                    waiting = self._waiting(record, entries[record.kid])
                    found += [waiting] if waiting else []
        return sorted(found, key=lambda one: one.place)

    def _waiting(self, record: KeyRecord, text: str) -> WaitingDelivery | None:
        try:
            entry = BegunDelivery.read(text)
        except Unreadable:
            return None
        state = entry.state(record, self._clock.wall_ms())
        if state is DeliveryState.OVER:
            return None
        is_undecided = state is DeliveryState.UNDECIDED
        about = (entry.target, entry.secret, entry.began_at)
        return WaitingDelivery(record, *about, is_undecided)
