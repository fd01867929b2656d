"""OutageLimits: limits while the store cannot count, and the counting afterwards.

Each key has an `on_outage`. With `local` this process enforces the limits alone. It starts from the
last reply of the store and adds the requests that it lets pass itself, so N sidecars together may
let pass N times the limit. As soon as the store replies again, the requests that passed are counted
there at that moment, even beyond the limit.
"""

from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from typing import Final

from authz.core.errors import OutcomeUnknown, Unavailable
from authz.core.events import Event
from authz.core.limits.charge import Charge, SpendReply, SpendRequest, limit_result
from authz.core.limits.key_limits import KeyLimits, LimitResult
from authz.core.limits.limit import OnOutage
from authz.core.limits.memory_counters import MemoryCounters
from authz.core.limits.ports import SpendStore
from authz.core.ports import Probe
from authz.flows.limits.key_limit_state import KeyLimitState, Waiter

DEBTS_PER_REPLY: Final = 10  # keys whose debt is sent with each reply of the store


class OutageLimits:
    """Decides by the limits during an outage. wall_ms: our best estimate of the store's clock."""

    def __init__(self, store: SpendStore, wall_ms: Callable[[], int], probe: Probe) -> None:
        self._store = store
        self._wall_ms = wall_ms
        self._count = probe.count
        self._counters = MemoryCounters()
        self._indebted: dict[KeyLimitState, None] = {}
        self._was_closed = False

    def spend(self, state: KeyLimitState, key_limits: KeyLimits) -> LimitResult:
        """Return the result of one request, and note it as a debt if it passes.

        Counts LIMIT_ALLOWED_IN_OUTAGE or LIMIT_DENIED_IN_OUTAGE. Raises Unavailable if the key's
        `on_outage` is `deny`. With `allow` the request always passes. With `local` the counters of
        this process decide.
        """
        now = self._wall_ms()
        charge = state.charge_at(now)
        self._was_closed = self._was_closed or not self._store.is_open
        match key_limits.on_outage:
            case OnOutage.DENY:
                raise Unavailable("limits cannot be counted")
            case OnOutage.ALLOW:
                reply = _with_room(charge, state.last_reply, now * 1000)
            case OnOutage.LOCAL:
                if state.last_reply is not None:
                    self._counters.open(charge, state.last_reply)
                reply = self._counters.spend(charge, 1, now * 1000)
        result = limit_result(charge, reply)
        if not reply.granted:
            self._count(Event.LIMIT_DENIED_IN_OUTAGE)
            return result
        self._count(Event.LIMIT_ALLOWED_IN_OUTAGE)
        if result.violated:
            self._count(Event.LIMIT_SHADOW_DENIED)
        self.owe(state, 1)
        return result

    def serve(self, state: KeyLimitState, waiters: Iterable[Waiter]) -> None:
        """Give each request that still waits its result of `spend`, or the Unavailable it raises.

        Raises ValueError if one waits and the key has no limits.
        """
        for waiter in waiters:
            if waiter.done():
                continue
            if state.key_limits is None:
                raise ValueError("the key has no limits")
            try:
                waiter.set_result(self.spend(state, state.key_limits))
            except Unavailable as cause:
                waiter.set_exception(cause)

    def owe(self, state: KeyLimitState, requests: int) -> None:
        """Add `requests` to the key's debt: they passed and the store has not counted them yet."""
        state.debt += requests
        self._indebted[state] = None

    def forget(self, state: KeyLimitState) -> None:
        """Do not send this key's debt from here: the key's next call to the store takes it along.

        `state.debt` stays as it is.
        """
        self._indebted.pop(state, None)

    def on_reply(self, charge: Charge) -> None:
        """Drop our counters, because the store counts again, and send the debts of up to 10 keys.

        After an outage all counters are dropped. If only some could not be read, those of `charge`.
        A debt goes back to its key if the store did not count it; if that is unknown, it is
        dropped.
        """
        if self._was_closed:
            self._was_closed = False
            self._counters.clear()
        elif len(self._counters):  # the store may still be unable to read others
            self._counters.forget(charge)
        for state in list(islice(self._indebted, DEBTS_PER_REPLY)):
            del self._indebted[state]
            debt, state.debt = state.debt, 0
            request = SpendRequest(0, returned=-debt)
            on_paid = partial(self._on_paid, state, debt)
            self._store.spend(state.charge_at(self._wall_ms()), request, on_paid)

    def _on_paid(self, state: KeyLimitState, debt: int, reply: SpendReply | Unavailable) -> None:
        if isinstance(reply, SpendReply) and reply.granted >= 0:
            return
        if not isinstance(reply, OutcomeUnknown):
            state.debt += debt  # goes with the key's next call


def _with_room(charge: Charge, last: SpendReply | None, now_us: int) -> SpendReply:
    """Return a reply that grants one request, with the units that the last reply showed.

    Without a last reply every counter is shown as unused.
    """
    left = last.left if last else tuple(counter.capacity for counter in charge.counters)
    return SpendReply(1, now_us, left, (0,) * len(left))
