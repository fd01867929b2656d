"""OutageLimits: what passes while the store cannot count, and how it is counted when it can.

A key goes by its `on_outage`. `local` holds it to its limits by what the store said last and what
this process has let pass since: so N sidecars may let pass N times as much. What passed is counted
as soon as the store answers, as of that moment, and also where it is more than the limit.
"""

from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Final

from authz.core.errors import OutcomeUnknown, Unavailable
from authz.core.events import Event
from authz.core.limits.charge import Charge, SpendReply, SpendRequest, settle
from authz.core.limits.key_limits import KeyLimits, LimitResult
from authz.core.limits.limit import OnOutage
from authz.core.limits.memory_counters import MemoryCounters
from authz.core.ports import Probe, SpendStore
from authz.flows.limits.key_limit_state import KeyLimitState

AT_ONCE: Final = 10  # keys whose debts are settled with each answer


class OutageLimits:
    """wall_ms: the store's wall clock, as far as that is known."""

    def __init__(self, store: SpendStore, wall_ms: Callable[[], int], probe: Probe) -> None:
        self._store = store
        self._wall_ms = wall_ms
        self._count = probe.count
        self._ledger = MemoryCounters()
        self._indebted: dict[KeyLimitState, None] = {}
        self._was_closed = False

    def go_on(self, tab: KeyLimitState, terms: KeyLimits) -> LimitResult:
        """What becomes of one request. Raises Unavailable where `on_outage` is `deny`."""
        now = self._wall_ms()
        charge = tab.charge_at(now)
        self._was_closed = self._was_closed or not self._store.is_open
        match terms.on_outage:
            case OnOutage.DENY:
                raise Unavailable("limits cannot be counted")
            case OnOutage.ALLOW:
                receipt = _unasked(charge, tab.receipt, now * 1000)
            case OnOutage.LOCAL:
                if tab.receipt is not None:
                    self._ledger.open(charge, tab.receipt)
                receipt = self._ledger.spend(charge, 1, now * 1000)
        spent = settle(charge, receipt)
        if not receipt.granted:
            self._count(Event.LIMIT_DENIED_IN_OUTAGE)
            return spent
        self._count(Event.LIMIT_ALLOWED_IN_OUTAGE)
        if spent.violated:
            self._count(Event.LIMIT_SHADOW_DENIED)
        self.owe(tab, 1)
        return spent

    def owe(self, tab: KeyLimitState, requests: int) -> None:
        """These have passed and are not counted yet."""
        tab.debt += requests
        self._indebted[tab] = None

    def forget(self, tab: KeyLimitState) -> None:
        """Its debt goes with a question of its own."""
        self._indebted.pop(tab, None)

    def heard(self, charge: Charge) -> None:
        """The store has answered for these counters: it knows better, and can be told."""
        if self._was_closed:
            self._was_closed = False
            self._ledger.clear()
        elif len(self._ledger):  # others are garbled
            self._ledger.forget(charge)
        if not self._indebted:
            return
        for tab in list(islice(self._indebted, AT_ONCE)):
            del self._indebted[tab]
            debt, tab.debt = tab.debt, 0
            deliver = partial(self._on_settled, tab, debt)
            self._store.spend(tab.charge_at(self._wall_ms()), SpendRequest(0, back=-debt), deliver)

    def _on_settled(self, tab: KeyLimitState, debt: int, answer: SpendReply | Unavailable) -> None:
        if isinstance(answer, SpendReply) and answer.granted >= 0:
            return
        if not isinstance(answer, OutcomeUnknown):
            tab.debt += debt  # to go with the next question for its key


def _unasked(charge: Charge, last: SpendReply | None, now: int) -> SpendReply:
    """As if there was room, with what was left when the store last said so."""
    left = last.left if last else tuple(counter.most for counter in charge.counters)
    return SpendReply(1, now, left, (0,) * len(left))
