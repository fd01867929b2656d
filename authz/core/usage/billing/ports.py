"""Ports of the export of billing records: the interfaces that flows need.

MUST marks an obligation of the implementation. A flow relies on it and cannot check it.
"""

from __future__ import annotations  # the types are for readers and checkers alone

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from authz.core.usage.billing.differences import Delivered, KeyHours, Place
    from authz.core.usage.billing.record import BillingRecord


class ClosedHours(Protocol):
    """Reads hours of keys. Both raise Unavailable, and `read` raises Unreadable for bad data."""

    async def now_ms(self) -> int:
        """Return the store's time in ms since the epoch."""
        ...

    async def read(self, kids: Sequence[str], hours: range) -> Sequence[KeyHours]:
        """Return these hours of each kid, in order."""
        ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """The progress of an export, in hours since the epoch.

    floor: the first hour that is still compared. position: the first hour that was never exported.
    """

    floor: int
    position: int


class Pending(NamedTuple):
    """A record that was sent and is not confirmed. sent_ms: when it was sent first."""

    number: int
    sent_ms: int
    record: BillingRecord


class DeliveryLog(Protocol):
    """Remembers records from before they are sent until the receiver has confirmed them.

    Everything MUST survive the end of the process, at any point. All raise Unavailable.
    """

    def prepare(self, records: Sequence[BillingRecord], now_ms: int) -> int:
        """Remember that these records are about to be sent. Return the number of the last one."""
        ...

    def confirm(self, number: int, refused: Sequence[BillingRecord] = ()) -> None:
        """Forget the pending records up to a number: they were delivered.

        refused: those that the receiver does not take. They count as never sent.
        """
        ...

    def pending(self, after: int, most: int) -> Sequence[Pending]:
        """Return at most `most` pending records after a number, in the order of their numbers."""
        ...


class DeliveredHours(Protocol):
    """Remembers what was delivered, and how far. All raise Unavailable."""

    def of(self, kid: str, hours: range) -> Mapping[Place, Delivered]:
        """Return what was delivered, or is pending, of some hours of a key."""
        ...

    def bounds(self) -> Bounds | None:
        """Return the progress; None before the first export is complete."""
        ...

    def advance(self, bounds: Bounds) -> None:
        """Remember the progress, and forget the hours before its floor."""
        ...


class ExportCursor(DeliveryLog, DeliveredHours, Protocol):
    """A DeliveryLog and a DeliveredHours of the same records."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """The result of a delivery.

    is_safe: whether all records so far are safe at the receiver. refused: those that it will never
    take, each with its reason.
    """

    is_safe: bool = True
    refused: Sequence[tuple[BillingRecord, str]] = ()


class BillingSink(Protocol):
    """Receives records."""

    @property
    def batch(self) -> int:
        """How many records a delivery has at most."""
        ...

    async def deliver(self, records: Sequence[BillingRecord]) -> Delivery:
        """Deliver records. Raises Unavailable if it is unknown whether the receiver has them."""
        ...

    async def finish(self) -> None:
        """Return when all records are safe. Raises Unavailable."""
        ...
