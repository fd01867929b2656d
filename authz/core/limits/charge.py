"""Charge: what one request takes, counter by counter, and Receipt: what became of asking for it.

A limit is one counter, a sliding window or a period of the calendar; one with a burst is two, for
it holds as a window, too. Counts are made where all sidecars see them, by storage/lua/spend.lua,
and in an outage in a process's own memory, by ledger.py. Both go by the numbers here.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from authz.core.limits.key_limits import KeyLimits, LimitGroup, LimitResult
from authz.core.limits.limit import Limit
from authz.core.limits.periods import Calendar

BUCKETS: Final = 100  # of a window
LEASED_SHARE: Final = 100  # a lease takes at most this part of a limit
LEAST_LEASE: Final = 3  # requests; for fewer each is asked for on its own
LONGEST_LEASE: Final = 1.0  # seconds
DRIFT: Final = 0.001  # by which part the store's clock may be faster than ours

# A request that passes on a lease may do so in the bucket after the one it is counted in. So one
# bucket more is kept of a limit of which there can be leases.
LEASABLE: Final = LEASED_SHARE * LEAST_LEASE


class Kind(StrEnum):
    """How a counter counts."""

    WINDOW = "window"
    PERIOD = "period"
    SMOOTH = "smooth"


class Counter(NamedTuple):
    """One counter, and what one request takes from it.

    a, b: of a window its length in ms and the buckets kept before the newest; of a period its first
    ms and the first after it; of a smooth one the length of its window in ms and its burst.
    """

    kind: Kind
    field: str
    enforced: bool
    limit: int
    charge: int
    a: int
    b: int

    @property
    def most(self) -> int:
        """The units that it can hold at once."""
        return self.b if self.kind is Kind.SMOOTH else self.limit


@dataclass(frozen=True, slots=True, eq=False)
class Charge:
    """What a request of `cost` takes from the counters of each account, for a while.

    begins, ends: milliseconds since the epoch between which the periods are right. lease: requests
    that a lease may be for, 0 when each is to be asked for. life: seconds that a lease is good for.
    """

    terms: KeyLimits
    cost: int
    accounts: tuple[tuple[LimitGroup, tuple[Counter, ...]], ...]
    begins: int
    ends: int | None
    lease: int
    life: float
    counters: tuple[Counter, ...] = field(init=False)
    is_plain: bool = field(init=False)  # one counter a limit: none has a burst

    def __post_init__(self) -> None:
        counters = tuple(counter for _, group in self.accounts for counter in group)
        object.__setattr__(self, "counters", counters)
        object.__setattr__(self, "is_plain", len(counters) == len(self.terms.limits))


class SpendRequest(NamedTuple):
    """What is asked of the counters of a charge.

    wanted: requests, or as many of them as there is room for; 0 only looks. lease: how many of
    these are for a lease, which the others come before. back: requests of an earlier grant that
    did not come, and the `now` of its receipt; below 0: requests that passed without being counted.
    """

    wanted: int
    lease: int = 0
    back: int = 0
    granted_at: int = 0


class Lease(NamedTuple):
    """Requests that a sidecar has in advance, as it was granted them: some may have come since.

    holder: its instance. cost: of each request. until: ms since the epoch, by the clock that
    counts, when it ends at the latest.
    """

    holder: str
    requests: int
    cost: int
    until: int


class SpendReply(NamedTuple):
    """What the counters said. The sequences go by `charge.counters`.

    granted: requests that may pass; below 0: the periods were not those of now, nothing was done.
    now: microseconds since the epoch, by the clock that counts. left: units. waits: microseconds
    until there is room for one request; 0: there was room; below 0: there never is.
    """

    granted: int
    now: int
    left: tuple[int, ...]
    waits: tuple[int, ...]


def charge(terms: KeyLimits, cost: int, now: int) -> Charge:
    """What a request that costs `cost`, at least 1, takes at `now`, in ms since the epoch."""
    accounts = tuple(
        (account, tuple(c for limit in account.limits for c in _counters(limit, cost, now)))
        for account in terms.accounts
    )
    found = [counter for _, group in accounts for counter in group]
    periods = [counter for counter in found if counter.kind is Kind.PERIOD]
    widths = [counter.a / BUCKETS / 1000 for counter in found if counter.kind is Kind.WINDOW]
    return Charge(
        terms,
        cost,
        accounts,
        begins=max((counter.a for counter in periods), default=0),
        ends=min((counter.b for counter in periods), default=None),
        lease=_lease(found),
        life=min([LONGEST_LEASE, *widths]) * (1 - DRIFT),
    )


def lease_for(charge: Charge, left: tuple[int, ...], demand: float) -> int:
    """How many requests the next lease is for: 0 or at least LEAST_LEASE.

    demand: requests in the life of a lease, as observed. left: of the last receipt. What is left of
    a period comes back only with the next one, so its leases become smaller towards its end.
    """
    size = min(charge.lease, int(demand))
    for counter, units in zip(charge.counters, left, strict=True):
        if counter.kind is Kind.PERIOD:
            size = min(size, units // (LEASED_SHARE * counter.charge))
    return size if size >= LEAST_LEASE else 0


def settle(charge: Charge, receipt: SpendReply, passed: int = 0) -> LimitResult:
    """What a request is told, `passed` microseconds after the receipt."""
    if charge.is_plain and not any(receipt.waits):  # the usual answer, and the cheap one
        then = receipt.now + passed
        return LimitResult(
            charge.terms, receipt.left, tuple([_full(c, then) for c in charge.counters])
        )
    remaining: list[int] = []
    resets: list[int] = []
    violated: list[int] = []
    rows = iter(zip(charge.counters, receipt.left, receipt.waits, strict=True))
    for index, limit in enumerate(charge.terms.limits):
        counter, left, wait = next(rows)
        if limit.burst is not None:
            _, units, pause = next(rows)
            left, wait = min(left, units), _longer(wait, pause)
        wait = wait if wait < 0 else max(0, wait - passed)
        if wait:
            violated.append(index)
        remaining.append(left)
        resets.append(_ms(wait) if wait > 0 else _full(counter, receipt.now + passed))
    enforced = [index for index in violated if charge.terms.limits[index].enforce]
    never = any(_never(charge, index) for index in enforced)
    return LimitResult(
        charge.terms,
        tuple(remaining),
        tuple(resets),
        tuple(violated),
        None if never else max((resets[index] for index in enforced), default=0),
    )


def patience(charge: Charge, receipt: SpendReply) -> float:
    """Seconds until a refused request would pass, infinite when it never does."""
    waits = [
        wait
        for counter, wait in zip(charge.counters, receipt.waits, strict=True)
        if counter.enforced
    ]
    return float("inf") if min(waits) < 0 else max(waits) / 1e6


def _counters(limit: Limit, cost: int, now: int) -> tuple[Counter, ...]:
    units, per = limit.charge(cost), limit.per
    name = f"{limit.name} {per} {limit.cost_of}"
    common = (limit.enforce, limit.limit, units)
    if isinstance(per, Calendar):
        return (Counter(Kind.PERIOD, f"{name} {per.zone}", *common, *per.bounds(now)),)
    kept = BUCKETS + (limit.limit >= LEASABLE)
    window = Counter(Kind.WINDOW, name, *common, per.length_ms, kept)
    if limit.burst is None:
        return (window,)
    return window, Counter(Kind.SMOOTH, f"{name} burst", *common, per.length_ms, limit.burst)


def _lease(counters: list[Counter]) -> int:
    if any(counter.kind is Kind.SMOOTH for counter in counters):
        return 0  # what is to be spread evenly is not to be had in advance
    size = min(counter.limit // (LEASED_SHARE * counter.charge) for counter in counters)
    return size if size >= LEAST_LEASE else 0


def _never(charge: Charge, index: int) -> bool:
    limit = charge.terms.limits[index]
    most = limit.limit if limit.burst is None else limit.burst
    return limit.charge(charge.cost) > most


def _longer(wait: int, other: int) -> int:
    return -1 if min(wait, other) < 0 else max(wait, other)


def _full(counter: Counter, now: int) -> int:
    return counter.a if counter.kind is Kind.WINDOW else counter.b - now // 1000


def _ms(microseconds: int) -> int:
    return -(-microseconds // 1000)
