"""Ports of rotations with a delivery: the place of new secrets, and the deliveries that have begun.

MUST marks an obligation of the implementation. A flow relies on it and cannot check it.
"""

from collections.abc import Mapping
from typing import Protocol

from authz.core.delivery import Parcel


class Target(Protocol):
    """Takes a secret to the place from which its holder reads it."""

    async def deliver(self, parcel: Parcel) -> None:
        """Deliver a secret. MUST be repeatable.

        Raises Undelivered if the target does not have it and does not take it, Unavailable if it is
        unknown whether the target has it.
        """
        ...


class PendingDeliveries(Protocol):
    """Remembers the deliveries that have begun, by kid. Methods raise Unavailable."""

    async def begin(self, kid: str, entry: str) -> str:
        """Remember a delivery, and return its entry: of two that begin, that of the first."""
        ...

    async def all(self) -> Mapping[str, str]:
        """Return the entries by kid."""
        ...

    async def compare_and_set(self, kid: str, known: str, new: str | None) -> bool:
        """Set an entry to `new`, by None forget it, if it is still `known`. Else return False.

        So a delivery that began meanwhile stays.
        """
        ...
