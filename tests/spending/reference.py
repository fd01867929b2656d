"""A plain reference of spending: it keeps every booking and counts all of them each time."""

from fractions import Fraction

from authz.core.limits.charge import SpendReply
from authz.core.limits.counters import BurstCounter, PeriodCounter, WindowCounter
from authz.core.limits.periods import NEVER_ENDS_MS


class Reference:
    """The counters of all accounts as lists of (time in us, units)."""

    def __init__(self):
        self.bookings = {}

    def spend(self, charge, ask, now):
        """Implement SpendStore.spend, and return the reply."""
        wanted, _, back, booked, _ = ask
        rows = []
        for account, counters in charge.groups:
            for counter in counters:
                name = (account.owner, account.counter_id, counter.field)
                bookings = self.bookings.setdefault(name, [])
                rows.append(REFERENCE[type(counter)](counter, bookings))
        for row in rows:
            if back > 0:
                row.give_back(back * row.counter.charge, booked, now)
            elif back < 0:
                row.book(now, -back * row.counter.charge)
        fits = [max(0, row.room(now) // row.counter.charge) for row in rows]
        enforced = [n for row, n in zip(rows, fits, strict=True) if row.counter.enforced]
        granted = min([wanted, *enforced])
        waits = [0 if n else row.wait(now) for row, n in zip(rows, fits, strict=True)]
        for row, n in zip(rows, fits, strict=True):
            if granted or back:
                row.book(now, min(granted, n) * row.counter.charge)
        left = tuple(max(0, row.room(now)) for row in rows)
        return SpendReply(granted, now, left, tuple(waits))


class Counted:
    """One counter."""

    def __init__(self, counter, bookings):
        self.counter = counter
        self.bookings = bookings

    def book(self, now, units):
        """Some passed."""
        if units:
            self.bookings.append((now, units))

    def wait(self, now):
        """How long until there is room for one request: tried whenever something leaves."""
        if self.counter.charge > self.counter.capacity:
            return -1
        return next(at - now for at in self.moments(now) if self.room(at) >= self.counter.charge)


class Window(Counted):
    """A window: the units in the newest bucket and in the older ones that count."""

    @property
    def width(self):
        return self.counter.length_ms * 10

    def room(self, now):
        oldest = now // self.width - self.counter.older_buckets
        return self.counter.limit - sum(n for at, n in self.bookings if at // self.width >= oldest)

    def moments(self, now):
        kept = self.counter.older_buckets + 1
        left = {(at // self.width + kept) * self.width for at, _ in self.bookings}
        return sorted(at for at in left if at > now)

    def give_back(self, units, booked, now):
        bucket = booked // self.width
        if bucket >= now // self.width - self.counter.older_buckets:
            there = sum(n for at, n in self.bookings if at // self.width == bucket)
            self.bookings.append((booked, -min(units, there)))


class Period(Counted):
    """A calendar period: the units between its bounds."""

    def room(self, _now):
        first, after = self.counter.begins_ms * 1000, self.counter.ends_ms * 1000
        return self.counter.limit - sum(n for at, n in self.bookings if first <= at < after)

    def wait(self, now):
        if self.counter.charge > self.counter.limit or self.counter.ends_ms == NEVER_ENDS_MS:
            return -1
        return self.counter.ends_ms * 1000 - now

    def give_back(self, units, booked, now):
        used = self.counter.limit - self.room(now)
        if booked >= self.counter.begins_ms * 1000:
            self.bookings.append((booked, -min(units, used)))


class Burst(Counted):
    """A bucket that holds the burst and leaks at the limit's rate, in units times the window.

    What leaked until something was booked did so at the rate of that moment: a change of the limit
    rewrites no past. A return takes out the units that cannot have leaked since they were booked.
    """

    @property
    def unit(self):
        return self.counter.length_ms * 1000

    def book(self, now, units):
        self.bookings.append((now, units, self.counter.limit))

    def level(self, now):
        level = last = 0
        for at, units, rate in self.bookings:
            level = max(0, level - (at - last) * rate)
            level, last = max(0, level + units * self.unit), at
        return max(0, level - (now - last) * self.counter.limit)

    def room(self, now):
        return (self.counter.burst * self.unit - self.level(now)) // self.unit

    def wait(self, now):
        if self.counter.charge > self.counter.burst:
            return -1
        over = self.level(now) + (self.counter.charge - self.counter.burst) * self.unit
        return -(-over // self.counter.limit)

    def give_back(self, units, booked, now):
        drained = (now - booked) * self.counter.limit
        self.book(now, -Fraction(max(0, units * self.unit - drained), self.unit))


REFERENCE = {WindowCounter: Window, PeriodCounter: Period, BurstCounter: Burst}
