"""Random histories of requests that are charged once: the store's scripts against a plain model."""

import random
from dataclasses import dataclass, field, replace

from authz.core.limits.amounts import Amounts
from authz.core.limits.charge import SpendRequest, charge_for
from authz.core.limits.charge_once import MAX_ATTEMPTS, RetryName
from authz.core.limits.key_limits import KeyLimits, LimitGroup, Owner
from authz.core.limits.limit import OnOutage, parse_limit
from authz.core.limits.reserved import parse_reserved
from authz.core.usage.commit import Budget, Commit, OnceUse, Settlement
from tests.spending.plans import BEGIN
from tests.spending.seeds import play_seeds
from tests.spending.settling import BudgetModel, TimedMeter
from tests.spending.store import TimedStore

NAMES = [f"{letter * 22}" for letter in "abc"]
WITHIN_MS = 60_000
PLANS = (
    ("6/month", "60000/month,of=tokens"),
    ("40/month", "90000/once,of=tokens", "0.000900/month,of=usd,enforce=false"),
    ("9000/calendar-day,of=bytes_out", "5/once"),
)
ESTIMATES = (Amounts(1, 800, 120, 300), Amounts(1, 4096, 700, 1))
GROUP = LimitGroup(Owner.KEY, "k" * 16, ())
STEPS = (0, 1, 20_000_000, 61_000_000, 26 * 3_600_000_000)


@dataclass
class Memory:
    """A request that was charged: until when, how often it came, and what it took and used."""

    until: int
    taken: list
    requests: int = 1
    used: dict = field(default_factory=dict)


class History:
    """One history: requests with and without names, settlements in any order, and time."""

    def __init__(self, client, seed):
        self.chance = random.Random(seed)
        client.flushdb()
        self.store, self.meter, self.model = TimedStore(client), TimedMeter(client), BudgetModel()
        self.now, self.number = BEGIN, 0
        self.memories, self.under_way, self.current = {}, [], {}
        limits = tuple(parse_limit("limits", text) for text in self.chance.choice(PLANS))
        self.key_limits = KeyLimits((replace(GROUP, limits=limits),), OnOutage.LOCAL)

    def play(self, steps):
        """Make some random steps; each asserts that store and model agree."""
        for _ in range(steps):
            self.chance.choice(
                (self.ask, self.ask, self.ask, self.settle, self.settle, self.wait)
            )()

    def ask(self):
        """One request, often with the name of an earlier one and perhaps another estimate."""
        cost = self.chance.choice(ESTIMATES)
        name = self.chance.choice((None, *NAMES, NAMES[0], NAMES[0]))
        once = RetryName(name, WITHIN_MS) if name else None
        charge = charge_for(self.key_limits.taken_by(cost), cost, self.now // 1000)
        reply = self.store.spend(charge, SpendRequest(1, once=once), self.now)
        wanted, known = self._expected(charge, name)
        assert reply[:4] == wanted[:4]
        assert reply.is_repeat == (known is not None)
        if not reply.granted:
            return
        self.current |= {p[:3]: c.ends_ms for p, c in self.model.places(charge)}
        taken = self._taken(charge, reply) if known is None else known.taken
        if name:
            assert parse_reserved(reply.reserved) == (tuple(taken), name if taken else "")
            if known is None:
                self.memories[name] = Memory(self.now + WITHIN_MS * 1000, taken)
            else:
                known.requests += 1
        self.under_way.append((name, taken))

    def _expected(self, charge, name):
        """Return the reply of the model, and the memory of the request if it was charged before."""
        known = self.memories.get(name)
        if known and self.now < known.until and known.requests < MAX_ATTEMPTS:
            looked = self.model.spend(charge, SpendRequest(0), self.now)
            return looked._replace(granted=1, waits_us=(0,) * len(looked.left)), known
        return self.model.spend(charge, SpendRequest(1), self.now), None

    @staticmethod
    def _taken(charge, reply):
        """Return the units that the first attempt took, of each budget that had room."""
        rows = zip(charge.counters, reply.waits_us, strict=True)
        fields = {counter.field for counter, wait in rows if not wait}
        return [taken for taken in charge.taken if taken.counter in fields]

    def settle(self):
        """A request ends, in any order. Of one in ten the usage is lost."""
        if not self.under_way:
            return
        name, taken = self.under_way.pop(self.chance.randrange(len(self.under_way)))
        if self.chance.random() < 0.1:
            return
        used = self.chance.choice((0, 1, 700, 5000))
        commit = Commit()
        for at, each in enumerate(taken):
            budget = Budget(GROUP, each.ends_ms, each.counter)
            settlement = Settlement(used, each.units)
            if name:
                commit.once.append((OnceUse(name, at), budget, settlement))
                settlement = self._of_attempt(self.memories[name], at, settlement)
            else:
                commit.settlements[budget] = settlement
            self.number += 1
            self.model.settle({budget: settlement}, self.number, self.current)
        self.meter.commit(commit, b"%d" % self.number, self.now)

    @staticmethod
    def _of_attempt(memory, at, settlement):
        """All attempts together use the most that one of them used, and took the estimate once."""
        before = memory.used.get(at)
        memory.used[at] = max(settlement.used, before or 0)
        if before is None:
            return settlement
        return Settlement(memory.used[at] - before, 0)

    def wait(self):
        self.now += self.chance.choice(STEPS)
        self.store.set_clock(self.now)


def play(client, histories, steps=40):
    """Play so many histories, each with a seed of its own."""
    play_seeds(lambda seed: History(client, seed).play(steps), histories)
