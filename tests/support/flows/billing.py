"""Histories of counts and exports, played on usage in memory with a real cursor file."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from authz.core.errors import Unavailable
from authz.core.usage.billing.differences import closed_before
from authz.core.usage.billing.period import Asked, period
from authz.core.usage.billing.ports import Delivery
from authz.core.usage.billing.record import NUMBERS, Unit
from authz.core.usage.counts import FIELDS, Counts, Level
from authz.core.usage.tally import Clocks
from authz.flows.usage.billing import BillingExport, Receiver
from authz.process import billing_cursor as module
from authz.process.billing_cursor import BillingCursor, CursorOwner, billing_cursor
from tests.support.memory_usage import MemoryClosedHours, MemoryUsage, MemoryUsageIndex
from tests.support.usage import committed, line

HOUR = 3_600_000
NOW = 1_800_000_000_000
LONG = 400  # hours
KIDS = ("K" * 16, "L" * 16, "M" * 16)
OWNER = CursorOwner(namespace="", database=0, peppers=frozenset({"p"}), target="files")
UNITS = (Unit.OK, Unit.UNITS, Unit.BYTES_IN)


class KilledError(BaseException):
    """Stands for the end of the process."""


class MovedClock:
    """A clock that the history moves."""

    def __init__(self):
        self.now = NOW

    def wall_ms(self):
        """Return the time of the history."""
        return self.now


class Ledger:
    """A receiver that takes each id once. It fails before or after it takes a delivery.

    fails: the number of the delivery that fails, counted down, and how.
    """

    def __init__(self, batch=2):
        self.batch = batch
        self.records = {}
        self.fails = None
        self.repeats = 0
        self.refuses = frozenset()

    async def deliver(self, records):
        """Take records. Each id has one content for ever."""
        how = None
        if self.fails is not None:
            left, how = self.fails
            self.fails = (left - 1, how) if left else None
            how = None if left else how
        if how == "killed before":
            raise KilledError
        if how == "unavailable":
            raise Unavailable("the receiver is away")
        refused = [record for record in records if record.kid in self.refuses]
        for record in records:
            if record in refused:
                continue
            self.repeats += record.id in self.records
            assert self.records.setdefault(record.id, record) == record
        if how == "killed after":
            raise KilledError
        if how == "lost":
            raise Unavailable("its answer was lost")
        return Delivery(refused=[(record, "no") for record in refused])

    async def finish(self):
        """Everything is safe."""

    def sums(self):
        """Return the sums of all quantities that are not 0."""
        found = Counter()
        for record in self.records.values():
            found[record.kid, record.hour, record.route, record.unit] += record.quantity
        return {place: total for place, total in found.items() if total}


@dataclass
class Played:
    """The world of a history."""

    directory: Path
    cursor_class: type[BillingCursor] = BillingCursor
    corrections: int = LONG

    def __post_init__(self):
        self.clock = MovedClock()
        self.usage = MemoryUsage(self.clock)
        self.ledger = Ledger()
        self.batches = 0
        self.receiver = Receiver(self.ledger)

    async def count(self, kid, hours_ago, route="models", charged="1"):
        """Count a request that ended so many hours ago, however late that is."""
        ended = self.clock.now - hours_ago * HOUR
        entry = line(kid=kid, started=ended, milliseconds="0", route=route, charged=charged)
        self.batches += 1
        clocks = Clocks.near(self.clock.now, LONG * HOUR, HOUR)
        await self.usage.commit(committed(entry, clocks=clocks), [self.batches], self.clock.now)

    def lose(self, which):
        """Take a request out of a row, as the loss of a primary may do."""
        rows = [row for (kid, level, *_), row in self.usage.rows.items() if kid and level == "h"]
        if rows and (row := rows[which % len(rows)])[0]:
            row[0] -= 1

    async def export(self, fails=None, *, in_doubt="", key_records=None, since=None, until=None):
        """Export what is missing. Return whether it came to its end. since, until: hours ago."""
        now = self.clock.now // HOUR
        self.ledger.fails = fails
        kept, module.BillingCursor = module.BillingCursor, self.cursor_class
        try:
            with billing_cursor(self.directory / "cursor", OWNER) as cursor:
                asked = Asked(
                    since=None if since is None else now - since,
                    until=None if until is None else now - until,
                    corrections=self.corrections,
                    oldest=now - LONG,
                )
                found = period(asked, closed_before(self.clock.now), cursor.bounds())
                exports = BillingExport(
                    MemoryClosedHours(self.usage),
                    MemoryUsageIndex(self.usage),
                    cursor,
                    replace(self.receiver, sink=self.ledger),
                    units=UNITS,
                    key_records=key_records or _no_records,
                )
                await exports.repeat(in_doubt)
                await exports.run(found)
                self.exported = exports.exported
                return True
        except (KilledError, Unavailable):
            return False
        finally:
            module.BillingCursor = kept

    def counted(self):
        """Return the counts of the store that are not 0, of closed hours."""
        found = {}
        for (kid, level, hour, name), row in self.usage.rows.items():
            if kid and level == Level.HOUR and hour < closed_before(self.clock.now):
                counts = _counts(row)
                for unit in UNITS:
                    if number := NUMBERS[unit](counts):
                        found[kid, hour, name[0], unit.value] = number
        return found


async def _no_records(_kids):
    return {}


def _counts(row):
    return Counts((*row, *[0] * (FIELDS - len(row))))
