"""A Limiter with a store that answers when a test tells it to."""

from authz.core.limits.charge import SpendReply
from authz.core.limits.key_limits import LimitPolicy
from authz.core.limits.limit import parse_limits
from authz.core.records import KeyRecord
from authz.flows.limits.limiter import Limiter
from tests.support.fakes import FakeClock, RecordingProbe, make_record

NOW = 1_763_800_000_000  # ms


class MemorySpendStore:
    """A SpendStore that answers when it is told to."""

    def __init__(self):
        self.is_open = True
        self.asked = []  # (charge, wanted, back, granted_at, deliver)
        self.leases = []  # of all that was ever asked
        self.names = []  # the same

    def spend(self, charge, ask, deliver):
        """Implement SpendStore.spend."""
        self.leases.append(ask.lease)
        self.names.append(ask.once)
        self.asked.append((charge, ask.wanted, ask.returned, ask.granted_at, deliver))

    def answer(self, granted, *waits, left=None, now=NOW, is_repeat=False):
        """Answer the oldest call."""
        charge, _, _, _, deliver = self.asked.pop(0)
        count = len(charge.counters)
        left = left or tuple(counter.limit for counter in charge.counters)
        deliver(SpendReply(granted, now * 1000, left, waits or (0,) * count, is_repeat))

    def fail(self, fault):
        """Answer the oldest call with a fault."""
        self.asked.pop(0)[-1](fault)


class Rig:
    """A limiter with its store, clock and probe."""

    def __init__(self, *texts, policy=None, max_keys=10, leases=True, store_clock=None, **fields):
        self.record: KeyRecord = make_record(limits=parse_limits("limits", texts), **fields)
        self.store, self.clock, self.probe = MemorySpendStore(), FakeClock(NOW), RecordingProbe()
        self.limiter = Limiter(
            self.store,
            policy or LimitPolicy(),
            self.clock,
            self.probe,
            max_keys=max_keys,
            leases=leases,
            store_clock=store_clock,
        )

    def spend(self, cost=1, record=None, once=None):
        """Spend for one request. Return the result, or an awaitable."""
        return self.limiter.spend(record or self.record, cost, once)

    def lease(self, size, life=0.009):
        """Spend until the limiter asks for a lease, and grant it. Return the waiting requests."""
        first = self.spend()
        self.store.answer(1)
        assert first.result().allowed
        self.clock.advance(life)
        waiters = [self.spend() for _ in range(size)]
        assert self.store.asked[0][1] == 1
        self.store.answer(1)
        assert self.store.asked[0][1] > size - 1
        self.store.answer(self.store.asked[0][1])
        return waiters
