"""MemoryCounters: counters in the memory of one process, by the rules of storage/lua/spend.lua."""

import math
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from authz.core.limits.charge import Charge, SpendReply
from authz.core.limits.counters import (
    BudgetCounter,
    BurstCounter,
    Counter,
    PeriodCounter,
    WindowCounter,
)

_Name = tuple[str, str, str]  # owner of the limit group, id of the group, field of the counter
_C_contra = TypeVar("_C_contra", bound=Counter, contravariant=True)


class _Count(Protocol[_C_contra]):
    """The units taken from one counter. Times are microseconds since the epoch."""

    def advance(self, counter: _C_contra, now: int) -> None:
        """Drop the units that no longer count at `now`. Called before the other methods."""
        ...

    def room(self, counter: _C_contra) -> int:
        """Return the units that are left, rounded down; negative if too many were taken."""
        ...

    def add(self, counter: _C_contra, units: int, now: int) -> None:
        """Take `units` at `now`, whether there is room or not."""
        ...

    def wait(self, counter: _C_contra, now: int) -> int:
        """Return the microseconds until there is room for one request; -1 if that is never.

        Called only if there is no room now, and the charge is not above the capacity.
        """
        ...


@dataclass(slots=True)
class _Window:
    """Units by bucket number."""

    buckets: dict[int, int] = field(default_factory=dict)

    def advance(self, counter: WindowCounter, now: int) -> None:
        oldest = now // counter.bucket_us - counter.older_buckets
        self.buckets = {k: units for k, units in self.buckets.items() if k >= oldest}

    def room(self, counter: WindowCounter) -> int:
        return counter.limit - sum(self.buckets.values())

    def add(self, counter: WindowCounter, units: int, now: int) -> None:
        bucket = now // counter.bucket_us
        self.buckets[bucket] = self.buckets.get(bucket, 0) + units

    def wait(self, counter: WindowCounter, now: int) -> int:
        missing = counter.charge - self.room(counter)
        leaves = now // counter.bucket_us
        for bucket in sorted(self.buckets):
            leaves = bucket
            missing -= self.buckets[bucket]
            if missing <= 0:
                break
        return (leaves + counter.older_buckets + 1) * counter.bucket_us - now


@dataclass(slots=True)
class _Period:
    """Units in the period that ends at `ends_ms`."""

    ends_ms: int = 0
    total: int = 0

    def advance(self, counter: PeriodCounter, now: int) -> None:
        if self.ends_ms != counter.ends_ms:
            self.ends_ms, self.total = counter.ends_ms, 0

    def room(self, counter: PeriodCounter) -> int:
        return counter.limit - self.total

    def add(self, counter: PeriodCounter, units: int, now: int) -> None:
        self.total += units

    def wait(self, counter: PeriodCounter, now: int) -> int:
        return -1 if counter.never_resets else self.ends_ms * 1000 - now


@dataclass(slots=True)
class _Burst:
    """The units that have not refilled at the time `at`, times the window's length in us."""

    at: int = 0
    level: int = 0

    def advance(self, counter: BurstCounter, now: int) -> None:
        self.level = max(0, self.level - (now - self.at) * counter.limit)
        self.at = now

    def room(self, counter: BurstCounter) -> int:
        unit = counter.length_ms * 1000
        return (counter.burst * unit - self.level) // unit

    def add(self, counter: BurstCounter, units: int, now: int) -> None:
        self.level += units * counter.length_ms * 1000

    def wait(self, counter: BurstCounter, now: int) -> int:
        over = self.level + (counter.charge - counter.burst) * counter.length_ms * 1000
        return math.ceil(over / counter.limit)


_COUNT_OF: dict[type[Counter], type[_Count[Any]]] = {
    WindowCounter: _Window,
    PeriodCounter: _Period,
    BudgetCounter: _Period,
    BurstCounter: _Burst,
}


class MemoryCounters:
    """The counters of any number of limit groups. Time is an argument and does not go back.

    Counters are only removed by `forget` and `clear`. len: the number of counters.
    """

    def __init__(self) -> None:
        self._counts: dict[_Name, _Count[Any]] = {}
        self._now = 0

    def __len__(self) -> int:
        return len(self._counts)

    def open(self, charge: Charge, reply: SpendReply) -> None:
        """Start each unknown counter of `charge` with the used units of the store's reply.

        Known counters stay as they are. A calendar counter that begins after the reply is not
        started.
        """
        for name, counter, left in zip(_names(charge), charge.counters, reply.left, strict=True):
            if name not in self._counts and _is_current(counter, reply.now_us):
                count = self._counts[name] = _COUNT_OF[type(counter)]()
                count.advance(counter, reply.now_us)
                count.add(counter, counter.capacity - left, reply.now_us)

    def spend(self, charge: Charge, wanted: int, now: int) -> SpendReply:
        """Take the charge for `wanted` requests, or for as many as there is room for.

        Unknown counters start empty. The reply's `granted` is 0 to `wanted`; only enforced counters
        reduce it. A counter that is not enforced takes only the requests that fit. now:
        microseconds since the epoch, within the periods of `charge`. If it is before the `now` of
        the last call, that of the last call counts.
        """
        self._now = now = max(now, self._now)
        counts = [
            self._counts.setdefault(name, _COUNT_OF[type(counter)]())
            for name, counter in zip(_names(charge), charge.counters, strict=True)
        ]
        rows = list(zip(charge.counters, counts, strict=True))
        for counter, count in rows:
            count.advance(counter, now)
        fits = [max(0, count.room(counter) // counter.charge) for counter, count in rows]
        enforced = (n for (counter, _), n in zip(rows, fits, strict=True) if counter.enforced)
        granted = min(wanted, *enforced, wanted)
        waits = []
        for (counter, count), room in zip(rows, fits, strict=True):
            never = counter.charge > counter.capacity
            waits.append(0 if room else -1 if never else count.wait(counter, now))
            if taken := min(granted, room):
                count.add(counter, taken * counter.charge, now)
        left = tuple(max(0, count.room(counter)) for counter, count in rows)
        return SpendReply(granted, now, left, tuple(waits))

    def clear(self) -> None:
        """Drop all counters."""
        self._counts.clear()

    def forget(self, charge: Charge) -> None:
        """Drop the counters of `charge`, those of pools too."""
        for name in _names(charge):
            self._counts.pop(name, None)


def _names(charge: Charge) -> list[_Name]:
    return [
        (group.owner, group.counter_id, counter.field)
        for group, counters in charge.groups
        for counter in counters
    ]


def _is_current(counter: Counter, now: int) -> bool:
    """Return False for a calendar period that begins after `now` (us since the epoch)."""
    return not isinstance(counter, PeriodCounter) or now >= counter.begins_ms * 1000
