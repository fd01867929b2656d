"""Ports of limits: the interfaces that flows need and storage implements.

MUST marks an obligation of the implementation. A flow relies on it and cannot check it.
"""

from __future__ import annotations  # the types are for readers and checkers alone

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from authz.core.errors import Unavailable
    from authz.core.limits.charge import Charge, Lease, SpendReply, SpendRequest
    from authz.core.limits.key_limits import LimitGroup


class SpendStore(Protocol):
    """Counts the use of limits for all sidecars together."""

    @property
    def is_open(self) -> bool:
        """True while calls can be sent. A call made while it is False gets Unavailable."""
        ...

    def spend(
        self,
        charge: Charge,
        request: SpendRequest,
        deliver: Callable[[SpendReply | Unavailable], None],
    ) -> None:
        """Take the charge for the requests wanted, or for as many as there is room for.

        `request.returned` is given back or counted first, also if nothing is granted.

        MUST call `deliver` exactly once, within a bounded time, and never before `spend` has
        returned. It gets the reply, OutcomeUnknown if the call may have been counted, Unreadable if
        the counters are garbled, or another Unavailable if the call was not counted.
        MUST NOT count a call twice.
        """
        ...


class LimitCounters(Protocol):
    """Reads and resets the counters of limits. Reads are current and may be slow."""

    async def look(self, charge: Charge) -> SpendReply:
        """Return the units left and the waits for one request, and count nothing.

        `granted` is 0, or negative for a wrong calendar period. Raises Unreadable if the counters
        are garbled, Unavailable if the store fails.
        """
        ...

    async def leases(self, groups: Sequence[LimitGroup], now: int) -> list[list[Lease]]:
        """Return the leases of each group that have not ended at `now`, in the order of `groups`.

        now: ms since the epoch by the store's clock. MUST return a bounded number, and MUST leave
        out leases that cannot be read. Raises Unavailable.
        """
        ...

    async def reset(self, kid: str) -> None:
        """Set the counters of a key to zero, not its credits and those of its project or tenant.

        A key without counters stays as it is. Raises Unavailable if the store fails.
        """
        ...


class Refunds(Protocol):
    """Gives units of budgets back."""

    async def refund(self, charge: Charge, units: int, now_ms: int) -> None:
        """Take units off the only budget of a charge, and off what was settled of it.

        now_ms: the time of the counters, from a look at this charge. MUST leave both at 0 at least,
        and another period as it is. Raises Unavailable if the store fails, and OutcomeUnknown if
        the units may have been taken off.
        """
        ...


class SettledBudgets(Protocol):
    """Reads what was settled of budgets. Reads are current."""

    async def spent(self, charge: Charge) -> Sequence[int]:
        """Return the units of each budget of the charge that ended requests really used.

        In the order of `charge.taken`; 0 if nothing was settled in the current period. Raises
        Unreadable if a number is garbled, Unavailable if the store fails.
        """
        ...


class CreditCounters(Protocol):
    """Reads the used credits of many keys. Reads are current."""

    async def used(self, groups: Sequence[LimitGroup]) -> Sequence[int]:
        """Return the used units of each group, in order; 0 without a counter.

        Each group has one limit, credits.
        MUST take one round trip for each 1,000 groups at most. Raises Unreadable if a counter is
        garbled, Unavailable if the store fails.
        """
        ...
