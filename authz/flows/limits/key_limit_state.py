"""KeyLimitState: what this process holds of the limits of one key, for requests of one cost."""

import asyncio
from collections import deque
from typing import Final, NamedTuple

from authz.core.limits.charge import Charge, SpendReply, charge
from authz.core.limits.key_limits import KeyLimits, LimitResult
from authz.core.records import KeyRecord

_NEVER: Final = float("-inf")

Waiter = asyncio.Future[LimitResult]


class KeyLimitState:
    """A lease, a refusal, or neither; and who waits for the store's answer.

    terms: None for a key that has no limits.
    lease: requests that may pass without asking, as granted; left: of them; until: when it ends,
    by the monotonic clock; granted_at: in the store's time; spent: what requests on it are told.
    receipt: the store's last answer. refusal: the last that was one, with refused_at and
    refused_until, by the monotonic clock. refusals: since the last question. waiting: for the
    answer to the next one. seen: requests since seen_from; demand: see `observe`. debt: requests
    that passed in an outage and were not counted.
    """

    __slots__ = (
        "asking",
        "charge",
        "cost",
        "debt",
        "demand",
        "granted_at",
        "lease",
        "left",
        "receipt",
        "record",
        "refusal",
        "refusals",
        "refused_at",
        "refused_until",
        "seen",
        "seen_from",
        "spent",
        "terms",
        "until",
        "waiting",
    )

    def __init__(self, record: KeyRecord, terms: KeyLimits | None, cost: int) -> None:
        self.record = record
        self.terms = terms
        self.cost = cost
        self.charge: Charge | None = None
        self.spent: LimitResult | None = None
        self.lease = self.left = 0
        self.until = self.seen_from = _NEVER
        self.granted_at = 0
        self.asking = False
        self.waiting: deque[Waiter] = deque()
        self.receipt: SpendReply | None = None
        self.refusal: SpendReply | None = None  # a grant that was under way may come after it
        self.refused_at = self.refused_until = _NEVER
        self.refusals = self.seen = self.debt = 0
        self.demand = 0.0

    def charge_at(self, wall: int) -> Charge:
        """What a request takes at `wall`, in ms since the epoch: anew for each calendar period."""
        held = self.charge
        if held is None or (held.ends is not None and not held.begins <= wall < held.ends):
            if self.terms is None:
                raise ValueError("there is nothing to take from")
            held = self.charge = charge(self.terms, self.cost, wall)
        return held

    def observe(self, now: float, life: float) -> float:
        """Before a question: how many requests come in the life of a lease, in seconds.

        As many as came in the last life that is over, or in this one so far. Counted from question
        to question instead, clients that wait for each answer would be one request at a time, and
        have no lease however often they ask.
        """
        self.seen += self.lease - self.left + self.refusals + len(self.waiting)
        self.refusals = 0
        elapsed = now - self.seen_from
        if elapsed >= life:
            self.demand = self.seen * life / elapsed
            self.seen, self.seen_from = 0, now
        return max(self.demand, self.seen)

    def hand_in(self) -> int:
        """Give up what is held; what the store is to be told of it: more was given, or owed."""
        back = self.left - self.debt
        self.lease = self.left = self.debt = 0
        return back


class PendingSpend(NamedTuple):
    """What was asked of the store, for whom, and when by the monotonic clock.

    back: see Ask. again: the periods were wrong the first time.
    """

    tab: KeyLimitState
    charge: Charge
    waiters: deque[Waiter]
    back: int
    sent: float
    again: bool = False


def answer(waiters: deque[Waiter], spent: LimitResult, most: int) -> int:
    """Answer at most `most` who still wait, and take them out. Returns how many."""
    answered = 0
    while waiters and answered < most:
        waiter = waiters.popleft()
        if not waiter.done():  # else its client has gone
            waiter.set_result(spent)
            answered += 1
    return answered
