"""MemoryCounters: the counters of accounts in a process's own memory, by the rules of spend.lua."""

import math
from dataclasses import dataclass, field

from authz.core.limits.charge import BUCKETS, Charge, Counter, Kind, SpendReply

_Name = tuple[str, str, str]  # whose account, its id, the counter's field


@dataclass(slots=True)
class _Window:
    """Counts by bucket."""

    buckets: dict[int, int] = field(default_factory=dict)

    def forget(self, counter: Counter, now: int) -> None:
        oldest = now // _width(counter) - counter.b
        self.buckets = {k: units for k, units in self.buckets.items() if k >= oldest}

    def room(self, counter: Counter) -> int:
        return counter.limit - sum(self.buckets.values())

    def add(self, counter: Counter, units: int, now: int) -> None:
        bucket = now // _width(counter)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + units

    def wait(self, counter: Counter, now: int) -> int:
        over = counter.charge - self.room(counter)
        leaves = now // _width(counter)
        for bucket in sorted(self.buckets):
            leaves = bucket
            over -= self.buckets[bucket]
            if over <= 0:
                break
        return (leaves + counter.b + 1) * _width(counter) - now


@dataclass(slots=True)
class _Period:
    """A count, and the ms at which it ends."""

    ends: int = 0
    total: int = 0

    def forget(self, counter: Counter, _now: int) -> None:
        if self.ends != counter.b:
            self.ends, self.total = counter.b, 0

    def room(self, counter: Counter) -> int:
        return counter.limit - self.total

    def add(self, _counter: Counter, units: int, _now: int) -> None:
        self.total += units

    def wait(self, _counter: Counter, now: int) -> int:
        return self.ends * 1000 - now


@dataclass(slots=True)
class _Smooth:
    """What had not drained at a time, in units times microseconds."""

    at: int = 0
    level: int = 0

    def forget(self, counter: Counter, now: int) -> None:
        self.level = max(0, self.level - (now - self.at) * counter.limit)
        self.at = now

    def room(self, counter: Counter) -> int:
        return (counter.b * counter.a * 1000 - self.level) // (counter.a * 1000)

    def add(self, counter: Counter, units: int, _now: int) -> None:
        self.level += units * counter.a * 1000

    def wait(self, counter: Counter, _now: int) -> int:
        over = self.level + (counter.charge - counter.b) * counter.a * 1000
        return math.ceil(over / counter.limit)


_Count = _Window | _Period | _Smooth
_KINDS: dict[Kind, type[_Count]] = {
    Kind.WINDOW: _Window,
    Kind.PERIOD: _Period,
    Kind.SMOOTH: _Smooth,
}


class MemoryCounters:
    """Counts of any number of accounts. Time is an argument and does not go back."""

    def __init__(self) -> None:
        self._counts: dict[_Name, _Count] = {}
        self._now = 0

    def __len__(self) -> int:
        return len(self._counts)

    def open(self, charge: Charge, receipt: SpendReply) -> None:
        """Begin with what the store said last, for counters that nothing is known of."""
        for name, counter, left in zip(_names(charge), charge.counters, receipt.left, strict=True):
            if name not in self._counts and receipt.now >= _begins(counter):
                count = self._counts[name] = _KINDS[counter.kind]()
                count.forget(counter, receipt.now)
                count.add(counter, counter.most - left, receipt.now)

    def spend(self, charge: Charge, wanted: int, now: int) -> SpendReply:
        """Take what `wanted` requests cost, or as many of them as there is room for.

        now: microseconds since the epoch, within the periods of `charge`.
        """
        self._now = now = max(now, self._now)
        counts = [
            self._counts.setdefault(name, _KINDS[counter.kind]())
            for name, counter in zip(_names(charge), charge.counters, strict=True)
        ]
        rows = list(zip(charge.counters, counts, strict=True))
        for counter, count in rows:
            count.forget(counter, now)
        fits = [max(0, count.room(counter) // counter.charge) for counter, count in rows]
        held = (n for (counter, _), n in zip(rows, fits, strict=True) if counter.enforced)
        granted = min(wanted, *held, wanted)
        waits = []
        for (counter, count), room in zip(rows, fits, strict=True):
            never = counter.charge > counter.most
            waits.append(0 if room else -1 if never else count.wait(counter, now))
            if taken := min(granted, room):
                count.add(counter, taken * counter.charge, now)
        left = tuple(max(0, count.room(counter)) for counter, count in rows)
        return SpendReply(granted, now, left, tuple(waits))

    def clear(self) -> None:
        """Know nothing any more."""
        self._counts.clear()

    def forget(self, charge: Charge) -> None:
        """Know nothing of these counters: the store knows better."""
        for name in _names(charge):
            self._counts.pop(name, None)


def _names(charge: Charge) -> list[_Name]:
    return [
        (account.owner, account.id, counter.field)
        for account, counters in charge.accounts
        for counter in counters
    ]


def _begins(counter: Counter) -> int:
    return counter.a * 1000 if counter.kind is Kind.PERIOD else 0


def _width(counter: Counter) -> int:
    return counter.a * 1000 // BUCKETS
