"""KeyLimitStates: the states of all keys in this process, and the end of each.

A state may end with a lease of which requests are left, or with a debt. Both go back to the store,
unless the key was changed.
"""

from collections.abc import Iterable
from itertools import islice

from authz.core.errors import Unavailable, UnknownPlan, UnknownPrice
from authz.core.events import Event
from authz.core.limits.amounts import Cost
from authz.core.limits.charge import Charge, SpendReply, SpendRequest, credits_part
from authz.core.limits.key_limits import KeyLimits, LimitPolicy
from authz.core.limits.ports import SpendStore
from authz.core.ports import Clock, Probe
from authz.core.records import KeyRecord
from authz.core.store_clock import StoreClock
from authz.flows.limits.key_limit_state import KeyLimitState
from authz.flows.limits.outage_limits import OutageLimits

Name = str | tuple[str, Cost]
"""The kid for requests that cost 1, else the kid and the cost."""


class KeyLimitStates:
    """The states by name, which is the kid, or kid and cost. `find` returns one, or None.

    max_keys: bound on states; the oldest one makes room, and its lease is returned to the store.
    store_clock: throttles end by it.
    has_pools: whether projects or tenants have limits.
    """

    def __init__(
        self,
        store: SpendStore,
        policy: LimitPolicy,
        outage: OutageLimits,
        probe: Probe,
        *,
        clock: Clock,
        max_keys: int,
        store_clock: StoreClock | None = None,
    ) -> None:
        self._store = store
        self._policy = policy
        self._outage = outage
        self._clock = clock
        self._store_clock = store_clock or StoreClock(0.0)  # never measured: our clock counts
        self._count = probe.count
        self._max_keys = max_keys
        self._states: dict[Name, KeyLimitState] = {}
        self._earlier: dict[Name, KeyLimitState] = {}  # of the policy before
        self.find = self._states.get
        self.has_pools = bool(policy.projects or policy.tenants)

    def open(self, record: KeyRecord, cost: Cost) -> KeyLimitState:
        """Return the state for `cost` of a record that `find` does not have, a new one if need be.

        A state of another version of the record is dropped as `strand` does. At `max_keys` the
        oldest state makes room. Raises UnknownPlan if the settings lack the key's plan, and
        UnknownPrice if they lack prices for a budget of money.
        """
        name = record.kid if cost == 1 else (record.kid, cost)
        known = self._states.get(name) or self._reopen(name, record)
        if known is not None and known.record.version == record.version:
            known.record = record  # the same version, loaded again
            return known
        state = self._made(record, cost)
        if known is not None:
            self.strand(known)
        elif len(self._states) >= self._max_keys:
            self._evict(self._states.pop(next(iter(self._states))))
        self._states[name] = state
        return state

    def ease(self, state: KeyLimitState) -> KeyLimitState:
        """Return the state that follows one whose throttle is over, and return its lease."""
        following = self._states[self._name(state)] = self._made(state.record, state.cost)
        self._evict(state)
        return following

    @staticmethod
    def _name(state: KeyLimitState) -> Name:
        kid, cost = state.record.kid, state.cost
        return kid if cost == 1 else (kid, cost)

    def _made(self, record: KeyRecord, cost: Cost) -> KeyLimitState:
        now, throttle = self._now_ms(), record.throttle
        state = KeyLimitState(record, _taken(self._policy, record, cost, now), cost)
        if throttle is not None and now < throttle.until:
            state.eases_at = self._clock.monotonic() + (throttle.until - now) / 1000
        return state

    def _now_ms(self) -> int:
        """Return the time by the store's clock, by which limits go; before a heartbeat by ours."""
        now = self._clock.wall_ms()
        offset = self._store_clock.offset(now, self._clock.monotonic())
        return now if offset is None else now + offset.low_ms

    def replace_policy(self, policy: LimitPolicy) -> None:
        """Apply `policy` from now on. Before the next call, call `migrate` until it is False.

        States of the earlier policy are kept until their key is used or migrated.
        """
        self._policy = policy
        self.has_pools = bool(policy.projects or policy.tenants)
        self._earlier |= self._states
        self._states.clear()

    def migrate(self, count: int) -> bool:
        """Apply the new policy to up to `count` states. Return True while any are left.

        A state whose limits are the same stays. Of another, the lease is returned to the store.
        """
        for name, state in list(islice(self._earlier.items(), count)):
            self._reopen(name, state.record)
        return bool(self._earlier)

    def give_back(self) -> None:
        """Return every lease and every debt to the store, and drop all states."""
        for state in (*self._earlier.values(), *self._states.values()):
            self._evict(state)
        self._earlier.clear()
        self._states.clear()

    def release(self) -> list[KeyLimitState]:
        """Return the states without a call under way, with their leases and debts; forget them."""
        found = [state for state in self._states.values() if not (state.is_asking or state.waiting)]
        for state in found:
            del self._states[self._name(state)]
            self._count_leased(state)
            self._outage.forget(state)
        return found

    def adopt(self, states: Iterable[KeyLimitState]) -> None:
        """Take over states that other ones of the same policy have released, up to `max_keys`."""
        for state in states:
            if len(self._states) < self._max_keys:
                self._states.setdefault(self._name(state), state)
                if state.debt:
                    self._outage.owe(state, 0)

    def give_up(self, state: KeyLimitState) -> int:
        """Count the requests that passed on the lease, then call and return `state.give_up`.

        Requests that were kept for too long are not among them, and count as LEASE_STRANDED. The
        debt is no longer sent from OutageLimits.
        """
        self._count_leased(state)
        self._drop_late(state)
        self._outage.forget(state)
        return state.give_up()

    def strand(self, state: KeyLimitState) -> None:
        """Drop the lease and the debt, and return only their credits to the store.

        Counts the requests left as LEASE_STRANDED. The key was changed, and the change may have
        reset its counters. A return would then take back requests that were counted after the
        reset. No change resets credits, and each refill would lose them otherwise.
        """
        state.is_dropped = True
        self._drop_late(state)
        if state.left:
            self._count(Event.LEASE_STRANDED, state.left)
        returned = self.give_up(state)
        if returned and state.charge is not None and (charge := credits_part(state.charge)):
            self._return(returned, charge, state)

    def _reopen(self, name: Name, record: KeyRecord) -> KeyLimitState | None:
        """Take over and return the state of the earlier policy, if record and limits are the same.

        Otherwise drop it and return None. Its lease is returned to the store, or stranded if the
        key was changed.
        """
        state = self._earlier.pop(name, None)
        if state is None:
            return None
        if state.record.version != record.version:
            self.strand(state)
        elif _are_same(state, self._policy, record, self._now_ms()):
            self._states[name] = state
            return state
        else:
            self._evict(state)
        return None

    def _evict(self, state: KeyLimitState) -> None:
        state.is_dropped = True
        returned = self.give_up(state)
        if returned and state.charge is not None:
            self._return(returned, state.charge, state)

    def _return(self, requests: int, charge: Charge, state: KeyLimitState) -> None:
        request = SpendRequest(0, 0, requests, state.granted_at)
        self._store.spend(charge, request, _ignore)

    def _drop_late(self, state: KeyLimitState) -> None:
        if state.left and self._clock.monotonic() >= state.kept_until:
            self._count(Event.LEASE_STRANDED, state.left)
            state.lease = state.left = 0

    def _count_leased(self, state: KeyLimitState) -> None:
        if passed := state.lease - state.left:
            self._count(Event.LIMIT_ALLOWED_ON_LEASE, passed)
            if state.lease_result is not None and state.lease_result.violated:
                self._count(Event.LIMIT_SHADOW_DENIED, passed)
            state.lease = state.left


def _ignore(_reply: SpendReply | Unavailable) -> None:
    """Ignore a reply that nobody waits for."""


def _taken(policy: LimitPolicy, record: KeyRecord, cost: Cost, now: int) -> KeyLimits | None:
    """Return the limits that a request takes from, or None. Raises UnknownPlan, UnknownPrice."""
    found = policy.of(record, now)
    return found.taken_by(cost) if found else None


def _are_same(state: KeyLimitState, policy: LimitPolicy, record: KeyRecord, now: int) -> bool:
    try:
        limits, wanted = state.key_limits, _taken(policy, record, state.cost, now)
    except (UnknownPlan, UnknownPrice):
        return False
    if limits is None or wanted is None:
        return limits is wanted
    return (limits.groups, limits.on_outage) == (wanted.groups, wanted.on_outage)
