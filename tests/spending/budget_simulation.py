"""A budget of tokens under 200 requests at a time through two gates, with some usage lost.

    python -m tests.spending.budget_simulation [--limit 1000000] [--seed N]

The limiters, both scripts and the settlement are the real ones, on a real Valkey; time is not.
Answers have a log-normal number of tokens, about 800 on average and 4,096 at most. Learned
estimates come from the store, as the meter publishes them, every 10 s.
"""

import argparse
import asyncio
from dataclasses import dataclass

from authz.core.budgets.learned import Estimates, Learning, Statistic, parse_learned
from authz.core.budgets.settlement import parse_report, settle
from authz.core.budgets.spending import Spending
from authz.core.budgets.terms import TOTAL, Terms
from authz.core.limits.key_limits import LimitGroup
from authz.core.limits.reserved import parse_reserved
from authz.core.usage.commit import Budget, Commit, Settlement
from authz.storage import schema
from tests.spending.settling import TimedMeter
from tests.spending.simulation import Sidecar, World
from tests.support.real import Valkey

AT_A_TIME = 200
MOST = 4096
TERMS = Terms(TOTAL)
MEAN, HIGHEST = Spending(800), Spending(MOST)
LEARNED = Spending(MOST, least=MOST // 20, learned=Statistic.MEAN)
LEARNED_P95 = Spending(MOST, least=MOST // 20, learned=Statistic.P95)
ROUTE = ("chat", "")
PATIENCE = 100_000  # us until a refused request comes again
FLUSH = 1_000_000  # us for which a gate's proxy gathers log entries
READ = 10_000_000  # us between two readings of learned estimates
END = 10_000_000  # us of demand after the budget is used up once


@dataclass
class Request:
    """A request that passed: what was reserved for it and what it used."""

    reserved: int
    used: int
    passed_at: int
    settled_at: float = float("inf")


class BudgetGate(Sidecar):
    """A gate whose requests end after a while, and whose log goes to the meter in batches."""

    def __init__(self, world, spending, lost):
        super().__init__(world)
        self.spending = spending
        self.estimates = Estimates()
        self.lost = lost
        self.log = []
        self.batches = 0

    def ask(self):
        """One of the requests that the clients always have under way comes."""
        guess = self.estimates.of(*ROUTE, self.spending.learned or Statistic.MEAN)
        spent = self.limiter.spend(self.record, self.spending.priced("", None, guess).amounts)
        if asyncio.isfuture(spent):
            self.waiting.append((self.world.now, spent))
        else:
            self.count(spent, self.world.now)

    def count(self, spent, moment):
        """It passed, or comes again later."""
        super().count(spent, moment)
        if not spent.allowed:
            self.world.at(self.world.now + PATIENCE, self.ask)
            return
        chance = self.world.chance
        used = max(1, min(MOST, round(chance.lognormvariate(6.35, 0.85))))
        ((taken,), _) = parse_reserved(spent.reserved)
        request = Request(taken.units, used, moment)
        self.world.requests.append(request)
        self.world.at(
            self.world.now + chance.randint(200_000, 4_000_000),
            lambda: self.end(request, taken),
        )

    def end(self, request, taken):
        """The answer is complete: its log entry is written or lost, and the next request comes."""
        if self.world.chance.random() >= self.lost:
            self.log.append((request, taken))
        self.ask()

    def flush(self):
        """The meter commits what was logged; now and then a batch comes twice."""
        log, self.log = self.log, []
        self.batches += 1
        settlements, learning = {}, Learning()
        for request, taken in log:
            word = b"complete:0:%d:0:0:0" % request.used
            used = settle(TERMS, parse_report(word), failed=False).used(taken)
            learning.add(used, None)
            group = LimitGroup(taken.owner, self.record.kid, ())
            budget = Budget(group, taken.ends_ms, taken.counter)
            known = settlements.get(budget, Settlement(0, 0))
            settlements[budget] = known + Settlement(used, taken.units)
            request.settled_at = self.world.now
        digest = b"%d %d" % (id(self), self.batches)
        for _ in range(self.world.chance.choice((1, 1, 2))):
            self.world.store.set_clock(self.world.now)
            commit = Commit(settlements=settlements, learned={ROUTE: learning} if log else {})
            self.world.meter.commit(commit, digest, self.world.now)
        self.world.at(self.world.now + FLUSH, self.flush)

    def read(self):
        """It reads what the meter published."""
        found = self.world.store.client.hgetall(schema.DEFAULT.estimates)
        self.estimates.replace(
            {tuple(place.split(" ")): parse_learned(text) for place, text in found.items()}
        )
        self.world.at(self.world.now + READ, self.read)


@dataclass(frozen=True)
class Outcome:
    """The result of one run: what was really used, and the promised bound."""

    limit: int
    used: int
    bound: int

    def __str__(self):
        return (
            f"used {self.used / self.limit:.3f} of the limit, bound {self.bound / self.limit:.3f}"
        )


async def simulate(client, *, spending, lost, limit=1_000_000, seed=1):
    """Run until the budget was used up for END. Return the outcome."""
    client.flushdb()
    world = World(client, seed, (f"{limit}/month,of=tokens",))
    world.requests, world.meter = [], TimedMeter(client)
    gates = [BudgetGate(world, spending, lost) for _ in range(2)]
    for number in range(AT_A_TIME):
        gate = gates[number % 2]
        world.at(world.now + number * 1000, gate.ask)
    for gate in gates:
        world.at(world.now + FLUSH, gate.flush)
        if spending.learned:
            world.at(world.now + READ, gate.read)
    seen, until = -1, world.now
    while seen < len(world.requests):  # some still pass
        seen, until = len(world.requests), until + END
        await world.run(until)
    last = max(request.passed_at for request in world.requests)
    over = sum(
        max(0, request.used - request.reserved)
        for request in world.requests
        if request.settled_at > last
    )
    return Outcome(limit, sum(request.used for request in world.requests), limit + over)


def main():
    """Print a row for each estimate and share of lost usage. Exit 1 if a promise does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--limit", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    is_good = True
    with Valkey() as valkey:
        for spending in (MEAN, HIGHEST, LEARNED, LEARNED_P95):
            for lost in (0, 0.05, 1):
                outcome = asyncio.run(
                    simulate(
                        valkey.admin,
                        spending=spending,
                        lost=lost,
                        limit=given.limit,
                        seed=given.seed,
                    )
                )
                name = spending.learned or spending.estimate
                print(f"estimate {name}, lost {lost:.0%}: {outcome}", flush=True)
                is_good = is_good and outcome.used <= outcome.bound
                is_good = is_good and (spending != HIGHEST or outcome.used <= outcome.limit)
                is_learned = spending.learned is not None
                is_good = is_good and (not is_learned or outcome.used <= 1.02 * outcome.limit)
                is_good = is_good and (lost or outcome.used >= 0.97 * outcome.limit)
    raise SystemExit(0 if is_good else 1)


if __name__ == "__main__":
    main()
