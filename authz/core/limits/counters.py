"""Counters: how one limit is counted. One type for each way of counting.

A limit has one counter: a sliding window, a calendar period, or a token bucket if its burst is
above the limit. Credits are a period that ends at NEVER_ENDS_MS. A budget is counted as a period. A
limit with a smaller burst has two, because it is also enforced as a window. Two places count by
these numbers: storage/lua/spend.lua, which all sidecars share, and memory_counters.py, which a
sidecar uses during a store outage.

How a sliding window is counted, with 200/min as the example:

    A window has 100 buckets. A minute is 60,000 ms, so a bucket is 600 ms wide.
    Now is 60,250 ms. The newest bucket is number 100 (60,000 to 60,599 ms).
    The minute that ends now begins at 250 ms. That is inside bucket 0 (0 to 599 ms).
    So the newest bucket and the 100 before it have to be counted: 101 buckets.

A request at 100 ms is still counted, although it is 60,150 ms old. It stops counting at 60,600 ms,
when bucket 101 begins. The error is on the safe side: no minute ever holds more than 200 requests,
wherever it begins. The price is that 101 buckets are 60,600 ms, so a client that sends evenly gets
200 per 60,600 ms: 99.0 % of the limit.

From 300 on a limit can be leased, and 101 older buckets are kept, as for 600/min. A request on a
lease may pass one bucket later than it was counted: counted in bucket 0, it may pass in bucket 1.
So the minute that ends in bucket 101 must still count bucket 0. Then 102 buckets are counted,
61,200 ms, and a client that sends evenly gets 98.0 % of the limit.
"""

from typing import Final, NamedTuple

from authz.core.limits.periods import NEVER_ENDS_MS

BUCKETS: Final = 100  # in one window


class WindowCounter(NamedTuple):
    """At most `limit` units in any window of `length_ms`, wherever it begins.

    field: the name of the counter in its limit group. charge: units that one request takes.
    older_buckets: how many buckets before the newest one still count: 100, or 101 if the limit can
    be leased.
    """

    field: str
    enforced: bool
    limit: int
    charge: int
    length_ms: int
    older_buckets: int

    @property
    def capacity(self) -> int:
        """The units that one moment can take at most: `limit`."""
        return self.limit

    @property
    def bucket_us(self) -> int:
        """The width of a bucket in microseconds: 1/100 of the window."""
        return self.length_ms * 1000 // BUCKETS

    def resets_in_ms(self, _now_us: int) -> int:
        """Return the window's length in milliseconds: nothing taken until now counts after it."""
        return self.length_ms


class PeriodCounter(NamedTuple):
    """At most `limit` units from `begins_ms` up to, not including, `ends_ms` (since the epoch)."""

    field: str
    enforced: bool
    limit: int
    charge: int
    begins_ms: int
    ends_ms: int

    @property
    def never_resets(self) -> bool:
        """True for credits: the units do not come back at the end of the period."""
        return self.ends_ms == NEVER_ENDS_MS

    @property
    def capacity(self) -> int:
        """The units that one moment can take at most: `limit`."""
        return self.limit

    def resets_in_ms(self, now_us: int) -> int:
        """Return the milliseconds until the period ends; 0 or negative once it is over.

        now_us: microseconds since the epoch.
        """
        return self.ends_ms - now_us // 1000


class BudgetCounter(PeriodCounter):
    """A period of tokens or micro-dollars: what a request took may be corrected afterwards."""

    __slots__ = ()


class BurstCounter(NamedTuple):
    """A token bucket: at most `burst` units at once, refilled evenly, `limit` in `length_ms`."""

    field: str
    enforced: bool
    limit: int
    charge: int
    length_ms: int
    burst: int

    @property
    def capacity(self) -> int:
        """The units that one moment can take at most: `burst`."""
        return self.burst

    def resets_in_ms(self, _now_us: int) -> int:
        """Return the milliseconds in which `limit` units refill: `length_ms`."""
        return self.length_ms


Counter = WindowCounter | PeriodCounter | BurstCounter
