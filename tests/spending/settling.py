"""Settlements on a real Valkey, by a clock of the test's own; and a plain model of budgets."""

from dataclasses import dataclass, field

from authz.core.limits.charge import SpendReply
from authz.core.usage.commit import Commit
from authz.core.usage.counts import Level
from authz.storage import schema
from authz.storage.usage.usage_script import COMMIT, COUNTED, KNOWN, arguments
from tests.spending.store import CLOCK

KEPT = dict.fromkeys(Level, 40_000_000)


class TimedMeter:
    """Runs the script of the meter at the time that the store was told last."""

    def __init__(self, client):
        self.client = client
        client.hset(schema.DEFAULT.meta, "schema", "1")
        assert COMMIT.count(CLOCK) == 1
        script = COMMIT.replace(CLOCK, "call('MGET', 'test:seconds', 'test:microseconds')")
        self.sha = client.script_load(script)

    def settle(self, settlements, digest, now):
        """Settle once, `now` in us. Return whether it was counted: False if the digest is known."""
        reply = self.commit(Commit(settlements=dict(settlements)), digest, now)
        assert reply[1] in {COUNTED, KNOWN}
        assert reply[1] == KNOWN or reply[2:] == [0, 0]
        return reply[1] == COUNTED

    def commit(self, commit, digest, now):
        """Add a commit of one batch, `now` in us. Return the reply of the script."""
        words = arguments(schema.DEFAULT, commit, [digest], KEPT, now // 1000)
        return self.client.evalsha(self.sha, *words)


@dataclass
class BudgetModel:
    """Budgets as plain numbers: for each counter and period, what is taken and what was spent."""

    taken: dict = field(default_factory=dict)
    spent: dict = field(default_factory=dict)
    seen: set = field(default_factory=set)

    @staticmethod
    def places(charge):
        """The budget of each counter of a charge."""
        return [
            ((group.owner, group.counter_id, counter.field, counter.ends_ms), counter)
            for group, counters in charge.groups
            for counter in counters
        ]

    def spend(self, charge, ask, now):
        """Grant as many requests as fit every enforced budget. The shape is that of the store.

        Requests of a lease that did not come are given back first, those of an outage are taken.
        """
        places = self.places(charge)
        for place, counter in places if ask.returned else ():
            is_same = ask.returned < 0 or ask.granted_at >= counter.begins_ms * 1000
            given = ask.returned * counter.charge if is_same else 0
            self.taken[place] = max(0, self.taken.get(place, 0) - given)
        rooms = [c.limit - self.taken.get(p, 0) for p, c in places]
        fits = [max(0, room // c.charge) for room, (_, c) in zip(rooms, places, strict=True)]
        enforced = [n for n, (_, c) in zip(fits, places, strict=True) if c.enforced]
        granted = min([ask.wanted, *enforced])
        for (place, counter), fit in zip(places, fits, strict=True):
            if granted:
                more = min(granted, fit) * counter.charge
                self.taken[place] = self.taken.get(place, 0) + more
        left = tuple(max(0, c.limit - self.taken.get(p, 0)) for p, c in places)
        waits = tuple(
            0 if n else -1 if c.charge > c.limit or c.never_resets else c.ends_ms * 1000 - now
            for n, (_, c) in zip(fits, places, strict=True)
        )
        return SpendReply(granted, now, left, waits)

    def settle(self, settlements, digest, current):
        """Settle once. current: the end of the period that each counter counts now, by name."""
        if digest in self.seen:
            return False
        self.seen.add(digest)
        for budget, (used, taken) in settlements.items():
            place = (budget.group.owner, budget.group.counter_id, budget.counter, budget.ends_ms)
            if place in self.taken and current.get(place[:3]) == budget.ends_ms:
                self.taken[place] = max(0, self.taken[place] + used - taken)
                self.spent[place] = max(0, self.spent.get(place, 0) + used)
        return True
