"""Random histories of budgets: the store's scripts against a plain model.

`python -m tests.spending.budget_histories 10000` plays so many.
"""

import random
import sys

from authz.core.limits.amounts import Amounts
from authz.core.limits.charge import SpendRequest, charge_for
from authz.core.limits.key_limits import KeyLimits, LimitGroup, Owner
from authz.core.limits.limit import OnOutage, parse_limit
from authz.core.usage.commit import Budget, Settlement
from tests.spending.plans import BEGIN
from tests.spending.seeds import play_seeds
from tests.spending.settling import BudgetModel, TimedMeter
from tests.spending.store import TimedStore

TEXTS = (
    *("{n}/month,of=tokens", "{n}/calendar-day,of=tokens", "{n}/once,of=tokens"),
    *("{n}/month,of=bytes_out", "{n}/once,of=bytes_out"),
    *("{usd}/month,of=usd", "{usd}/week,of=usd", "try={n}/month,of=tokens,enforce=false"),
    "{n}/month",
)
OWNERS = ((Owner.KEY, "k" * 16, ""), (Owner.PROJECT, "search", "acme"), (Owner.TENANT, "acme", ""))
HOUR = 3_600_000_000
STEPS = (0, 1, 2_000_000, HOUR, 26 * HOUR, 33 * 24 * HOUR)


class History:
    """One history: requests, settlements in any order and number, time, and a last look."""

    def __init__(self, client, seed):
        self.chance = random.Random(seed)
        client.flushdb()
        self.store, self.meter, self.model = TimedStore(client), TimedMeter(client), BudgetModel()
        self.now = BEGIN
        self.under_way = []  # (charge, ended: what to settle, digest)
        self.sent = []
        self.leases = {}  # cost -> when it was granted, and the requests that are left
        self.number = 0
        self.current = {}
        groups = [self._group(*each) for each in OWNERS[: self.chance.randint(1, 3)]]
        self.key_limits = KeyLimits(tuple(groups), OnOutage.LOCAL)

    def _group(self, owner, name, tenant):
        texts = self.chance.sample(TEXTS, self.chance.randint(1, 3))
        amount = self.chance.choice((900, 5_000, 400_000))
        limits = tuple(
            parse_limit("limits", text.format(n=amount, usd=f"0.{amount:06}")) for text in texts
        )
        return LimitGroup(owner, name, limits, tenant)

    def play(self, steps):
        """Make some random steps; each asserts that store and model agree."""
        acts = (
            *(self.ask, self.ask, self.ask, self.settle, self.settle, self.repeat),
            *(self.wait, self.refund),
        )
        for _ in range(steps):
            self.chance.choice(acts)()

    def spend(self, cost, wanted, lease=0, returned=0, granted_at=0):
        limits = self.key_limits.taken_by(cost)
        if limits is None:
            return None, None
        charge = charge_for(limits, cost, self.now // 1000)
        request = SpendRequest(wanted + lease, lease, returned, granted_at)
        reply = self.store.spend(charge, request, self.now)
        assert reply == self.model.spend(charge, request, self.now)
        if reply.granted or returned:
            self.current |= {
                place[:3]: counter.ends_ms for place, counter in self.model.places(charge)
            }
        return charge, reply

    def ask(self):
        cost = Amounts(
            1, *self.chance.choice(((800, 1200, 1), (100, 0, 300), (0, 250), (4096, 6144)))
        )
        wanted, lease = self.chance.choice(((1, 0), (1, 0), (5, 0), (1, 7)))
        granted_at, left = self.leases.pop(cost, (0, 0))
        back = left or self.chance.choice((0, 0, 0, 0, -2))  # requests that passed in an outage
        charge, reply = self.spend(cost, wanted, lease, back, granted_at if left else 0)
        if reply is None:
            return
        leased = max(0, reply.granted - wanted)
        unused = self.chance.randint(0, leased)
        if unused:
            self.leases[cost] = (reply.now_us, unused)
        for _ in range(reply.granted - unused):
            self.number += 1
            used = min(4096 * 3, int(self.chance.lognormvariate(6.4, 0.9)))
            settlements = {}
            owners = {group.owner: group for group, _ in charge.groups}
            for taken in charge.taken:
                group = LimitGroup(
                    taken.owner, owners[taken.owner].id, (), owners[taken.owner].tenant_id
                )
                budget = Budget(group, taken.ends_ms, taken.counter)
                settlements[budget] = Settlement(self.chance.choice((0, used)), taken.units)
            self.under_way.append((settlements, b"%d" % self.number))

    def settle(self):
        """One that is under way ends, or its log is lost."""
        if self.under_way:
            found = self.under_way.pop(self.chance.randrange(len(self.under_way)))
            if self.chance.random() > 0.1:
                self.sent.append((self.now, *found))
                self._settle(*found)

    def repeat(self):
        """Envoy sends a batch again, although it was counted, within two hours."""
        self.sent = [each for each in self.sent if self.now - each[0] <= 2 * HOUR]
        if self.sent:
            _, *found = self.chance.choice(self.sent)
            self._settle(*found)

    def refund(self):
        """An operator gives units of one budget back, perhaps more than were used."""
        if self.current:
            place = self.chance.choice(sorted(self.current))
            owner, counter_id, counter = place
            tenant, _, name = counter_id.rpartition("/")
            budget = Budget(LimitGroup(owner, name, (), tenant), self.current[place], counter)
            self.number += 1
            units = self.chance.choice((1, 500, 10_000))
            self._settle({budget: Settlement(-units, 0)}, b"%d" % self.number)

    def _settle(self, settlements, digest):
        is_counted = self.meter.settle(settlements, digest, self.now)
        assert is_counted == self.model.settle(settlements, digest, self.current)

    def wait(self):
        self.now += self.chance.choice(STEPS)
        self.store.set_clock(self.now)


def play(client, histories, steps=24):
    """Play so many histories, each with a seed of its own."""
    play_seeds(lambda seed: History(client, seed).play(steps), histories)


def main():
    """Play as many histories as the command line says."""
    from tests.support.real import Valkey

    histories = int(sys.argv[1])
    with Valkey() as valkey:
        play(valkey.admin, histories)
    print(f"{histories} histories: store and model agree")


if __name__ == "__main__":
    main()
