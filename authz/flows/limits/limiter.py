"""Limiter: takes what a request costs from the limits of its key, mostly without asking anybody.

Rules:
1. A request passes when the store has counted it, on its own or as part of a lease: requests that
   were counted in advance. So in no window of its length does a limit let more pass than it says.
2. A lease lives for one bucket of the shortest window, counted from the SENDING of the question,
   and never past the end of a period. What passes on it is in the bucket in which it was counted,
   or in the next one, and the store keeps one bucket more for that.
3. One lease of a key is asked for at a time. What is left of it goes back with the next question.
4. Those who waited when a lease was asked for pass as of the moment of its grant, however late the
   answer comes. Those who came later have to find it still alive.
5. After a refusal the store is not asked again before the request can pass. A change of the key
   ends that, and its lease.
6. Nothing is asked twice. If an answer is lost, nothing was granted here, and all of it may have
   been counted there.
7. Without the store each key goes by its `on_outage`: see uncounted.py.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable
from functools import partial

from authz.core.errors import OutcomeUnknown, Unavailable, Unreadable
from authz.core.events import Event
from authz.core.limits.charge import SpendReply, SpendRequest, charge, lease_for, patience, settle
from authz.core.limits.key_limits import LimitPolicy, LimitResult
from authz.core.ports import Clock, Probe, SpendStore
from authz.core.records import KeyRecord
from authz.flows.limits.key_limit_state import KeyLimitState, PendingSpend, Waiter, answer
from authz.flows.limits.outage_limits import OutageLimits


class Limiter:
    """Spends. max_keys: of how many something is held. leases: False asks for every request."""

    def __init__(
        self,
        store: SpendStore,
        agreements: LimitPolicy,
        clock: Clock,
        probe: Probe,
        *,
        max_keys: int,
        leases: bool = True,
    ) -> None:
        self._store = store
        self._agreements = agreements
        self._has_pools = bool(agreements.projects or agreements.tenants)
        self._clock = clock
        self._monotonic = clock.monotonic
        self._count = probe.count
        self._max_keys = max_keys
        self._leases = leases
        self._tabs: dict[str | tuple[str, int], KeyLimitState] = {}
        self._uncounted = OutageLimits(store, self._wall_ms, probe)
        self._ahead = 0  # ms by which the store's clock was found ahead of ours

    def spend(self, record: KeyRecord, cost: int) -> LimitResult | Awaitable[LimitResult] | None:
        """What becomes of a request that costs `cost`; an awaitable when the store must be asked.

        None: there is nothing to take from. Raises Unavailable, as the awaitable does, when its
        limits are not known, or cannot be counted and the key is not to go on without.
        """
        if not (
            record.limits
            or record.plan
            or (self._has_pools and (record.project_id or record.tenant_id))
        ):
            return None
        if not cost:
            return None
        tab = self._tabs.get(record.kid if cost == 1 else (record.kid, cost))
        if tab is None or tab.record is not record:
            tab = self._open(record, cost)
        now = self._monotonic()
        if tab.left and now < tab.until:
            tab.left -= 1
            return tab.spent
        if tab.terms is None:
            return None
        if now < tab.refused_until:
            return self._refuse(tab, now)
        if not self._store.is_open:
            return self._uncounted.go_on(tab, tab.terms)
        return self._ask(tab, now)

    # what is held

    def _open(self, record: KeyRecord, cost: int) -> KeyLimitState:
        name = record.kid if cost == 1 else (record.kid, cost)
        held = self._tabs.get(name)
        if held is not None and held.record.version == record.version:
            held.record = record  # the same, read again
            return held
        terms = self._agreements.of(record)
        if held is not None:
            self._strand(held)
        elif len(self._tabs) >= self._max_keys:
            self._evict(self._tabs.pop(next(iter(self._tabs))))
        tab = self._tabs[name] = KeyLimitState(record, terms, cost)
        return tab

    def _evict(self, tab: KeyLimitState) -> None:
        self._count_lease(tab)
        self._uncounted.forget(tab)
        if tab.charge is not None and (back := tab.hand_in()):
            self._store.spend(tab.charge, SpendRequest(0, 0, back, tab.granted_at), _ignore)

    def _strand(self, tab: KeyLimitState) -> None:
        """Its counters may have been reset: to give back now would take from what came since."""
        self._count_lease(tab)
        if tab.left:
            self._count(Event.LEASE_STRANDED, tab.left)
        tab.hand_in()
        self._uncounted.forget(tab)

    def _count_lease(self, tab: KeyLimitState) -> None:
        if passed := tab.lease - tab.left:
            self._count(Event.LIMIT_ALLOWED_ON_LEASE, passed)
            if tab.spent is not None and tab.spent.violated:
                self._count(Event.LIMIT_SHADOW_DENIED, passed)
            tab.lease = tab.left

    def _refuse(self, tab: KeyLimitState, now: float) -> LimitResult:
        if tab.charge is None or tab.refusal is None:
            raise ValueError("nobody was refused")
        tab.refusals += 1
        self._count(Event.LIMIT_DENIED_LOCALLY)
        return settle(tab.charge, tab.refusal, int((now - tab.refused_at) * 1e6))

    def give_back(self) -> None:
        """Hold nothing any more: the store is told what did not come of every lease, and is owed.

        For an orderly stop. Of a window as long as a day, or of a month, it would be missing.
        """
        for tab in self._tabs.values():
            self._evict(tab)
        self._tabs.clear()

    # what is asked

    def _wall_ms(self) -> int:
        return self._clock.wall_ms() + self._ahead

    def _ask(self, tab: KeyLimitState, now: float) -> Waiter:
        waiter: Waiter = asyncio.get_running_loop().create_future()
        wanted = tab.charge_at(self._wall_ms())
        if self._leases and wanted.lease:
            tab.waiting.append(waiter)
            if not tab.asking:
                self._ask_for_lease(tab, now)
        else:
            self._send(PendingSpend(tab, wanted, deque((waiter,)), self._settle(tab), now))
        return waiter

    def _ask_for_lease(self, tab: KeyLimitState, now: float) -> None:
        wanted = tab.charge_at(self._wall_ms())
        demand = tab.observe(now, wanted.life)
        size = lease_for(wanted, tab.receipt.left, demand) if tab.receipt else 0
        waiters, tab.waiting = tab.waiting, deque()
        tab.asking = True
        question = PendingSpend(tab, wanted, waiters, self._settle(tab), now)
        self._send(question, size)

    def _settle(self, tab: KeyLimitState) -> int:
        self._count_lease(tab)
        self._uncounted.forget(tab)
        return tab.hand_in()

    def _send(self, asked: PendingSpend, lease: int = 0) -> None:
        self._count(Event.LIMIT_STORE_CALL)
        ask = SpendRequest(len(asked.waiters) + lease, lease, asked.back, asked.tab.granted_at)
        self._store.spend(asked.charge, ask, partial(self._on_answer, asked))

    # what is answered, as it is parsed

    def _on_answer(self, asked: PendingSpend, answered: SpendReply | Unavailable) -> None:
        tab = asked.tab
        leased = self._leases and asked.charge.lease
        if leased:
            tab.asking = False
        if isinstance(answered, Unavailable):
            self._on_fault(asked, answered)
        elif answered.granted < 0:
            self._on_wrong_period(asked, answered)
        elif not answered.granted:
            self._on_refusal(asked, answered)
        else:
            self._on_grant(asked, answered)
        if leased and tab.waiting and not tab.asking:
            self._ask_for_lease(tab, self._monotonic())

    def _on_refusal(self, asked: PendingSpend, receipt: SpendReply) -> None:
        tab, now = asked.tab, self._monotonic()
        tab.receipt = tab.refusal = receipt
        tab.refused_at, tab.refused_until = now, now + patience(asked.charge, receipt)
        asked.waiters.extend(tab.waiting)
        tab.waiting.clear()
        spent = settle(asked.charge, receipt)
        denied = answer(asked.waiters, spent, len(asked.waiters))
        self._count(Event.LIMIT_DENIED_BY_STORE, denied)
        self._uncounted.heard(asked.charge)

    def _on_grant(self, asked: PendingSpend, receipt: SpendReply) -> None:
        tab, spent = asked.tab, settle(asked.charge, receipt)
        tab.receipt = receipt
        served = answer(asked.waiters, spent, receipt.granted)
        self._count(Event.LIMIT_ALLOWED_BY_STORE, served)
        if spent.violated:
            self._count(Event.LIMIT_SHADOW_DENIED, served)
        tab.waiting.extendleft(reversed(asked.waiters))
        left = receipt.granted - served
        if left and asked.charge.lease and self._leases:
            self._begin_lease(asked, receipt, spent, left)
        self._uncounted.heard(asked.charge)

    def _begin_lease(
        self, asked: PendingSpend, receipt: SpendReply, spent: LimitResult, left: int
    ) -> None:
        tab, life = asked.tab, asked.charge.life
        if asked.charge.ends is not None:
            life = min(life, (asked.charge.ends * 1000 - receipt.now) / 1e6)
        tab.until, tab.granted_at, tab.spent = asked.sent + life, receipt.now, spent
        tab.lease = tab.left = left
        self._count(Event.LEASE_TAKEN)
        if self._monotonic() < tab.until:
            tab.left -= answer(tab.waiting, spent, left)

    def _on_wrong_period(self, asked: PendingSpend, receipt: SpendReply) -> None:
        """Nothing was done. So it is asked again, once, for the day and month of the store."""
        if asked.again:
            self._on_fault(asked, Unavailable("the store's clock is in no period"))
            return
        now = receipt.now // 1000
        self._ahead = now - self._clock.wall_ms()
        tab = asked.tab
        tab.charge = charge(asked.charge.terms, asked.charge.cost, now)
        tab.asking = bool(self._leases and tab.charge.lease)
        self._send(asked._replace(charge=tab.charge, again=True))

    def _on_fault(self, asked: PendingSpend, fault: Unavailable) -> None:
        tab = asked.tab
        if isinstance(fault, Unreadable):
            self._count(Event.LIMIT_GARBLED)
        if asked.back > 0:
            self._count(Event.LEASE_STRANDED, asked.back)
        elif asked.back and not isinstance(fault, OutcomeUnknown):
            self._uncounted.owe(tab, -asked.back)
        for waiter in asked.waiters:
            if not waiter.done():
                self._answer_alone(tab, waiter)

    def _answer_alone(self, tab: KeyLimitState, waiter: Waiter) -> None:
        if tab.terms is None:
            raise ValueError("there is nothing to take from")
        try:
            waiter.set_result(self._uncounted.go_on(tab, tab.terms))
        except Unavailable as cause:
            waiter.set_exception(cause)


def _ignore(_answered: SpendReply | Unavailable) -> None:
    """Nobody waits for it."""
