"""KeyLimitState: lease, refusal and waiting requests of one key, for requests of one cost."""

import asyncio
from collections import deque
from math import inf
from typing import Final, NamedTuple

from authz.core.limits.amounts import Cost
from authz.core.limits.charge import Charge, SpendReply, charge_for
from authz.core.limits.charge_once import RetryName
from authz.core.limits.key_limits import KeyLimits, LimitResult
from authz.core.records import KeyRecord

LONGEST_KEPT: Final = 1.0  # seconds; later a failover or a reset may have begun counters anew

_NEVER: Final = float("-inf")

Waiter = asyncio.Future[LimitResult]


class KeyLimitState:
    """The state of the limits of one key in this process.

    key_limits: those that a request of this cost takes from, None if there are none.
    lease: requests that the store granted in advance. left: how many of them have not come.
    until: the end of the lease, by the monotonic clock. granted_at: when the store granted it, in
    microseconds of the store's clock. lease_result: the result that each of them gets. kept_until:
    until when units that `keep` got may be returned, in monotonic seconds; else infinity.
    last_reply: the store's last reply. refusal: its last reply that granted nothing; a grant that
    was already under way may arrive after it. refused_at, refused_until: the time in which requests
    are refused by it, by the monotonic clock. refusals: such requests since the last call.
    is_asking: a call for a lease is under way. is_asking_once: a call for a request that is charged
    once is under way, after a refusal. waiting: requests that wait for the next call.
    is_dropped: the limiter has another state of the key by now, or none; calls may be under way.
    seen, seen_from, demand: see `observe`. debt: requests that passed in an outage, uncounted.
    """

    __slots__ = (
        "charge",
        "cost",
        "debt",
        "demand",
        "eases_at",
        "granted_at",
        "is_asking",
        "is_asking_once",
        "is_dropped",
        "kept_until",
        "key_limits",
        "last_reply",
        "lease",
        "lease_result",
        "left",
        "record",
        "refusal",
        "refusals",
        "refused_at",
        "refused_until",
        "seen",
        "seen_from",
        "until",
        "waiting",
    )

    def __init__(self, record: KeyRecord, key_limits: KeyLimits | None, cost: Cost) -> None:
        self.record = record
        self.key_limits = key_limits
        self.cost = cost
        self.charge: Charge | None = None
        self.lease_result: LimitResult | None = None
        self.lease = self.left = 0
        self.until = self.seen_from = _NEVER
        self.kept_until = inf
        self.granted_at = 0
        self.is_asking = self.is_asking_once = self.is_dropped = False
        self.waiting: deque[Waiter] = deque()
        self.last_reply: SpendReply | None = None
        self.refusal: SpendReply | None = None
        self.refused_at = self.refused_until = _NEVER
        self.refusals = self.seen = self.debt = 0
        self.demand = 0.0
        self.eases_at = inf  # the end of a throttle, in monotonic seconds

    def charge_at(self, wall: int) -> Charge:
        """Return the charge at `wall`, in ms since the epoch. Each calendar period has its own.

        The last charge is returned again within its periods. Raises ValueError if the key has no
        limits.
        """
        known = self.charge
        if known is None or (known.ends is not None and not known.begins <= wall < known.ends):
            if self.key_limits is None:
                raise ValueError("the key has no limits")
            known = self.charge = charge_for(self.key_limits, self.cost, wall)
        return known

    def observe(self, now: float, lease_seconds: float) -> float:
        """Return the requests that come during the life of a lease. Call it before each store call.

        Adds the requests since the last call to `seen` and sets `refusals` to 0. Demand is measured
        over a whole lease life: the last complete one, or the current one so far if that is more.
        Counted per store call, a client that waits for each reply would show a demand of 1 and
        never get a lease. now: monotonic seconds.
        """
        self.seen += self.lease - self.left + self.refusals + len(self.waiting)
        self.refusals = 0
        elapsed = now - self.seen_from
        if elapsed >= lease_seconds:
            self.demand = self.seen * lease_seconds / elapsed
            self.seen, self.seen_from = 0, now
        return max(self.demand, self.seen)

    def keep(self, requests: int, granted_at: int, now: float) -> None:
        """Keep requests that were counted and that nobody waits for, until `give_up`.

        They may be returned for LONGEST_KEPT (1 s) from `now`, in monotonic seconds. granted_at:
        microseconds of the store's clock. The earliest of both stays: as of a later grant a window
        would have room too early. There must be no lease.
        """
        if not self.left:
            self.granted_at, self.kept_until = granted_at, now + LONGEST_KEPT
        self.lease += requests
        self.left += requests

    def give_up(self) -> int:
        """Drop lease and debt. Return the requests left minus the debt: the next `returned`.

        Negative if the debt is larger. The store is not called.
        """
        returned = self.left - self.debt
        self.lease = self.left = self.debt = 0
        return returned


class PendingSpend(NamedTuple):
    """A call to the store that has no reply yet.

    returned, once: as in SpendRequest. sent: by the monotonic clock. is_retry: the first call named
    a calendar period that was not current.
    """

    state: KeyLimitState
    charge: Charge
    waiters: deque[Waiter]
    returned: int
    sent: float
    is_retry: bool = False
    once: RetryName | None = None


def serve(waiters: deque[Waiter], result: LimitResult, most: int) -> int:
    """Give `result` to at most `most` waiters, in order, and remove them. Return how many got it.

    Cancelled waiters are removed as well and do not count.
    """
    served = 0
    while waiters and served < most:
        waiter = waiters.popleft()
        if not waiter.done():  # a done one was cancelled: its client has gone
            waiter.set_result(result)
            served += 1
    return served
