"""Limiter: takes the charge of each request from its key's limits, mostly without a store call.

Rules:
1. A request passes only after the store has counted it: on its own, or in advance as part of a
   lease. So no window of a limit's length holds more than the limit, wherever it begins.
2. A lease lives for one bucket of the shortest window, measured from when the call was SENT, and
   ends with the calendar period. A request on it passes in the bucket in which it was counted or in
   the next one. The store keeps one more bucket for this; see core/limits/counters.py.
3. At most one call for a lease is under way per key. The next call returns the unused requests.
4. Requests that were already waiting when the lease was requested are admitted however late the
   reply is. Later requests need a lease that is still valid.
5. After a refusal the store is not asked again before the request could pass. A change of the key
   ends the refusal and the lease. Of credits that are used up the store is asked once a minute: a
   lease of another sidecar may have come back. Of a budget once a second: a settlement may have
   returned a part of an estimate.
6. A unit that nobody waits for goes back with a call in the next second: its retry is charged too.
7. No call is repeated. If a reply is lost, the sidecar admits nothing on it, although the store may
   have counted all of it.
8. A request that is charged once asks the store each time and takes from no lease. So the store can
   tell a retry, whichever sidecar it comes to. Without the store it is a request like any other.
   See core/limits/charge_once.py.
9. Without the store each key follows its `on_outage`; see outage_limits.py.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Iterable
from functools import partial

from authz.core.errors import OutcomeUnknown, Unavailable, Unreadable
from authz.core.events import Event
from authz.core.limits.amounts import Cost
from authz.core.limits.charge import (
    SpendReply,
    SpendRequest,
    charge_for,
    limit_result,
    next_lease_size,
    seconds_until_room,
)
from authz.core.limits.charge_once import RetryName
from authz.core.limits.key_limits import LimitPolicy, LimitResult
from authz.core.limits.ports import SpendStore
from authz.core.ports import Clock, Probe
from authz.core.records import KeyRecord
from authz.core.store_clock import StoreClock
from authz.flows.limits.budget_marks import BudgetMarks, BudgetNotes
from authz.flows.limits.key_limit_state import KeyLimitState, PendingSpend, Waiter, serve
from authz.flows.limits.key_limit_states import KeyLimitStates
from authz.flows.limits.outage_limits import OutageLimits


class Limiter:
    """Takes from limits. One instance serves all keys of a sidecar, on one event loop.

    max_keys: bound on states; see KeyLimitStates. leases: if False, each request asks the store.
    notes: takes the marks that budgets pass; None: nobody does. store_clock: the store's clock.
    """

    def __init__(
        self,
        store: SpendStore,
        policy: LimitPolicy,
        clock: Clock,
        probe: Probe,
        *,
        max_keys: int,
        leases: bool = True,
        notes: BudgetNotes | None = None,
        store_clock: StoreClock | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._monotonic = clock.monotonic
        self._count = probe.count
        self._leases = leases
        self._marks = BudgetMarks(notes)
        self._outage = OutageLimits(store, self._wall_ms, probe)
        self._states = KeyLimitStates(
            *(store, policy, self._outage, probe),
            clock=clock,
            max_keys=max_keys,
            store_clock=store_clock,
        )
        self._find = self._states.find
        self._ahead_ms = 0  # how far the store's clock was found ahead of ours

    def spend(
        self, record: KeyRecord, cost: Cost, once: RetryName | None = None
    ) -> LimitResult | Awaitable[LimitResult] | None:
        """Return the result of a request that costs `cost`, or an awaitable if the store is asked.

        once: the name of a request that is charged once. The store, if it is there, is asked each
        time. None: `cost` is 0, or neither the key nor its pools have limits that it takes from.
        Raises UnknownPlan if the settings lack the key's plan. Raises Unavailable, as the awaitable
        does, if the limits cannot be counted and the key's `on_outage` is `deny`.
        """
        if not cost or not (
            record.limits
            or record.plan
            or (self._states.has_pools and (record.project_id or record.tenant_id))
        ):
            return None
        state = self._find(record.kid if cost == 1 else (record.kid, cost))
        if state is None or state.record is not record:
            state = self._states.open(record, cost)
        now = self._monotonic()
        if now >= state.eases_at:
            state = self._states.ease(state)
        if once is not None and self._store.is_open:
            return self._spend_once(state, now, once)
        if state.left and now < state.until:
            state.left -= 1
            return state.lease_result
        if state.key_limits is None:
            return None
        if now < state.refused_until:
            return self._refuse(state, now)
        if not self._store.is_open:
            return self._outage.spend(state, state.key_limits)
        return self._ask(state, now)

    def _spend_once(
        self, state: KeyLimitState, now: float, once: RetryName
    ) -> LimitResult | Awaitable[LimitResult] | None:
        """Ask the store about a request that it may have charged before.

        After a refusal one call at a time asks whether this is a retry; others are refused here.
        """
        if state.key_limits is None:
            return None
        if now < state.refused_until:
            if state.is_asking_once:
                return self._refuse(state, now)
            state.is_asking_once = True
        waiter: Waiter = asyncio.get_running_loop().create_future()
        charge = state.charge_at(self._wall_ms())
        self._send(PendingSpend(state, charge, deque((waiter,)), 0, now, once=once))
        return waiter

    def _refuse(self, state: KeyLimitState, now: float) -> LimitResult:
        if state.charge is None or state.refusal is None:
            raise ValueError("the store has refused no request of this key")
        state.refusals += 1
        self._count(Event.LIMIT_DENIED_LOCALLY)
        return limit_result(state.charge, state.refusal, int((now - state.refused_at) * 1e6))

    def replace_policy(self, policy: LimitPolicy) -> None:
        """Apply `policy` from now on. Before the next call, call `migrate` until it is False."""
        self._states.replace_policy(policy)

    def migrate(self, count: int) -> bool:
        """Apply the new policy to up to `count` states. Return True while any are left."""
        return self._states.migrate(count)

    def release(self) -> list[KeyLimitState]:
        """Return the states of keys without a call under way, for another limiter to `adopt`."""
        return self._states.release()

    def adopt(self, states: Iterable[KeyLimitState]) -> None:
        """Take over states of a limiter of the same policy, with their leases and debts."""
        self._states.adopt(states)

    def give_back(self) -> None:
        """Return every lease and every debt to the store, and drop all states.

        Call it before an orderly stop. Otherwise the unused requests stay counted: of a window of a
        day for a day, of a month until its end.
        """
        self._states.give_back()

    # calls

    def _wall_ms(self) -> int:
        return self._clock.wall_ms() + self._ahead_ms

    def _ask(self, state: KeyLimitState, now: float) -> Waiter:
        waiter: Waiter = asyncio.get_running_loop().create_future()
        charge = state.charge_at(self._wall_ms())
        if self._leases and charge.max_lease:
            state.waiting.append(waiter)
            if not state.is_asking:
                self._ask_for_lease(state, now)
        else:
            returned = self._states.give_up(state)
            self._send(PendingSpend(state, charge, deque((waiter,)), returned, now))
        return waiter

    def _ask_for_lease(self, state: KeyLimitState, now: float) -> None:
        charge = state.charge_at(self._wall_ms())
        demand = state.observe(now, charge.lease_seconds)
        last = state.last_reply
        size = next_lease_size(charge, last.left, demand) if last else 0
        waiters, state.waiting = state.waiting, deque()
        state.is_asking = True
        self._send(PendingSpend(state, charge, waiters, self._states.give_up(state), now), size)

    def _send(self, pending: PendingSpend, lease: int = 0) -> None:
        self._count(Event.LIMIT_STORE_CALL)
        wanted, granted_at = len(pending.waiters) + lease, pending.state.granted_at
        request = SpendRequest(wanted, lease, pending.returned, granted_at, pending.once)
        self._store.spend(pending.charge, request, partial(self._on_reply, pending))

    # replies, inside the parser's callback

    def _on_reply(self, pending: PendingSpend, reply: SpendReply | Unavailable) -> None:
        state = pending.state
        leased = self._leases and pending.charge.max_lease and pending.once is None
        if leased:
            state.is_asking = False
        elif pending.once is not None:
            state.is_asking_once = False
        if isinstance(reply, Unavailable):
            self._on_fault(pending, reply)
        elif reply.granted < 0:
            self._on_wrong_period(pending, reply)
        elif not reply.granted:
            self._on_refusal(pending, reply)
        else:
            self._on_grant(pending, reply)
        if state.is_asking or pending.once is not None:
            return
        if leased and state.waiting:
            self._ask_for_lease(state, self._monotonic())
        elif state.is_dropped:  # while the call was under way; the reply may have brought a lease
            self._states.strand(state)

    def _on_refusal(self, pending: PendingSpend, reply: SpendReply) -> None:
        state, now = pending.state, self._monotonic()
        state.last_reply = state.refusal = reply
        state.refused_at = now
        state.refused_until = now + seconds_until_room(pending.charge, reply)
        pending.waiters.extend(state.waiting)
        state.waiting.clear()
        result = limit_result(pending.charge, reply)
        denied = serve(pending.waiters, result, len(pending.waiters))
        self._count(Event.LIMIT_DENIED_BY_STORE, denied)
        self._outage.on_reply(pending.charge)
        self._look_for_marks(pending, reply)

    def _on_grant(self, pending: PendingSpend, reply: SpendReply) -> None:
        state, result = pending.state, limit_result(pending.charge, reply)
        state.last_reply = reply
        served = serve(pending.waiters, result, reply.granted)
        event = Event.LIMIT_ALLOWED_BEFORE if reply.is_repeat else Event.LIMIT_ALLOWED_BY_STORE
        self._count(event, served)
        if result.violated:
            self._count(Event.LIMIT_SHADOW_DENIED, served)
        state.waiting.extendleft(reversed(pending.waiters))
        if (left := reply.granted - served) and pending.once is None:
            if pending.charge.max_lease and self._leases:
                self._begin_lease(pending, reply, result, left)
            else:
                state.keep(left, reply.now_us, self._monotonic())
        self._outage.on_reply(pending.charge)
        self._look_for_marks(pending, reply)

    def _look_for_marks(self, pending: PendingSpend, reply: SpendReply) -> None:
        if pending.state.record is not None:
            self._marks.look(pending.state.record.kid, pending.charge, reply)

    def _begin_lease(
        self, pending: PendingSpend, reply: SpendReply, result: LimitResult, left: int
    ) -> None:
        state, seconds = pending.state, pending.charge.lease_seconds
        if pending.charge.ends is not None:
            seconds = min(seconds, (pending.charge.ends * 1000 - reply.now_us) / 1e6)
        state.until, state.granted_at = pending.sent + seconds, reply.now_us
        state.lease_result, state.lease, state.left = result, left, left
        self._count(Event.LEASE_TAKEN)
        if self._monotonic() < state.until:
            state.left -= serve(state.waiting, result, left)

    def _on_wrong_period(self, pending: PendingSpend, reply: SpendReply) -> None:
        """Ask again, once, with the day and month of the store's clock. Nothing was counted.

        Corrects our estimate of the store's clock. A second wrong period counts as a fault of the
        store.
        """
        if pending.is_retry:
            self._on_fault(pending, Unavailable("the store's clock is in no period"))
            return
        now = reply.now_us // 1000
        self._ahead_ms = now - self._clock.wall_ms()
        state = pending.state
        state.charge = charge_for(pending.charge.key_limits, pending.charge.cost, now)
        if pending.once is None:
            state.is_asking = bool(self._leases and state.charge.max_lease)
        self._send(pending._replace(charge=state.charge, is_retry=True))

    def _on_fault(self, pending: PendingSpend, fault: Unavailable) -> None:
        state = pending.state
        if isinstance(fault, Unreadable):
            self._count(Event.LIMIT_GARBLED)
        if pending.returned > 0:
            self._count(Event.LEASE_STRANDED, pending.returned)
        elif pending.returned and not isinstance(fault, OutcomeUnknown):
            self._outage.owe(state, -pending.returned)
        self._outage.serve(state, pending.waiters)
