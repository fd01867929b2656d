"""KeyCache: reads records from a key source, caches them, and receives the change feed.

Rules:
1. A record is served as current only while `now < trusted_until`, checked when it is served.
2. A load hands its record over through the cache only. A waiter serves what the cache holds when
   the waiter wakes, so a change that arrived in between is never missed.
3. At most one load per kid is under way. A cancelled waiter cancels no other.
4. A kid seen revoked stays revoked through flushes, reloads and a store that went back in time.
5. Records are bounded, and absent kids are bounded separately, so garbage cannot evict good keys.
6. The cache holds no secret text. A fault is raised anew for each waiter: one exception object that
   is raised again collects the frames of all waiters, and these hold the presented keys.

During an outage, while the link to the store is not trusted, `peek_stale` serves stale records:

7. A record is served stale while `now < last_trusted + grace`. The grace is the key's own or the
   sidecar's. Trust proves every change that is older than a lease, so nothing is served later than
   lease + grace after a change. The TTL does not end an entry; its `expires_at` does.
8. The loss of trust moves `last_trusted` back to that moment, and only new trust moves it on. A
   link that comes and goes without being trusted prolongs nothing.
9. Flushed records may be served stale until trust is back, and no longer. With trust they can be
   loaded again, and new entries are as recent as the change for which trust was proven.
10. An emptied store is an outage like any other. If the store turns out not to be ours, no cached
   record is served any more.
11. A record that was changed, or found absent or unreadable, is dropped. A revoked one is served as
   revoked for as long as it is cached: revocation is final, so it does not age.
"""

import asyncio
import random
from collections.abc import Callable
from functools import partial
from typing import Final

from cachetools import TTLCache

from authz.core.bounded import BoundedDict
from authz.core.errors import Elsewhere, Fault, Unavailable, Unreadable
from authz.core.events import Event
from authz.core.ports import Clock, KeySource, Loaded, Probe
from authz.core.records import KeyRecord, Status, as_revoked
from authz.flows.cache_contents import CacheContents
from authz.flows.packed_records import MAX_IN_USE, NEVER, PackedRecords

MAX_REVOKED: Final = 100_000
MAX_ATTEMPTS: Final = 10  # a key may be changed while it is loaded; the deadline ends this too
TTL_JITTER: Final = 0.1

_ABSENT: Final = object()


class KeyCache:
    """Records by kid. `peek` never waits; `find` waits at most `deadline` seconds for the source.

    ttl, negative_ttl, deadline, grace: seconds. Each ttl is shortened at random, by up to 10 %.
    grace is for keys without a grace of their own. max_entries: bound on records. max_in_use: bound
    on those kept unpacked. max_negatives: bound on kids that are absent or unreadable.
    """

    def __init__(
        self,
        source: KeySource,
        clock: Clock,
        probe: Probe,
        *,
        ttl: float,
        negative_ttl: float,
        max_entries: int,
        max_negatives: int,
        deadline: float,
        grace: float = 0.0,
        max_in_use: int = MAX_IN_USE,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._source = source
        self._clock = clock
        self._monotonic = clock.monotonic
        self._probe = probe
        self._ttl = ttl
        self._negative_ttl = negative_ttl
        self._deadline = deadline
        self._grace = grace
        self._jitter = jitter
        self._trusted_until = 0.0
        self._last_trusted = NEVER
        self._entries = PackedRecords(max_entries, max_in_use)
        self._in_use = self._entries.in_use
        self._packed = self._entries.packed
        self._flushed = PackedRecords(max_entries, max_in_use)  # rule 9
        self._negatives: TTLCache[str, Unreadable | None] = TTLCache(
            max_negatives, negative_ttl, self._monotonic
        )
        self._revoked: BoundedDict[str, None] = BoundedDict(MAX_REVOKED)
        self._loads: dict[str, asyncio.Future[Fault | None]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def negatives(self) -> int:
        """The number of kids that are cached as absent or unreadable."""
        return len(self._negatives)

    @property
    def is_trusted(self) -> bool:
        """True while cached records are current. While it is False, `find` raises Unavailable."""
        return self._monotonic() < self._trusted_until

    @property
    def last_trusted(self) -> float:
        """The last moment at which the cached records were trusted, in monotonic seconds.

        Now, while they are trusted. Minus infinity if they never were.
        """
        return min(self._last_trusted, self._monotonic())

    @property
    def grace_left(self) -> float:
        """Seconds for which records are still served stale; 0 if none is cached or it is over.

        For keys without a grace of their own; others may be served for a shorter or longer time.
        While the link is trusted, the rest of the lease is included.
        """
        cached = self._entries or self._flushed
        return max(0.0, self._last_trusted + self._grace - self._monotonic()) if cached else 0.0

    def peek(self, kid: str) -> KeyRecord | None:
        """Return the record if it is cached, within its TTL, and the link is trusted; else None."""
        entry = self._in_use(kid)
        if entry is None and kid in self._packed:
            entry = self._entries.fetch(kid)
        if entry is None:
            return None
        now = self._monotonic()
        if now < entry[1] and now < self._trusted_until:
            return entry[0]
        return None

    def peek_stale(self, kid: str) -> KeyRecord | None:
        """Return the cached record, also a flushed one, until its grace after the last trust.

        None after that, and if it is not cached. A revoked record is returned also after its grace.
        Neither the TTL nor the present trust matters.
        """
        record = self._cached(kid)
        if record is None or record.status is Status.REVOKED:
            return record
        own = record.outage_grace
        grace = self._grace if own is None else own / 1000
        return record if self._monotonic() < self._last_trusted + grace else None

    async def find(self, kid: str) -> KeyRecord | None:
        """Return the record, or None if there is no such key.

        A cached absence counts as an answer. Raises Unreadable if the record cannot be read,
        Elsewhere if it lies in another partition, Unavailable without trust, if the load fails, or
        after the deadline or MAX_ATTEMPTS (10) loads, which are counted as LOOKUP_TIMEOUT.
        """
        began = self._monotonic()
        for _ in range(MAX_ATTEMPTS):
            now = self._monotonic()
            if now >= self._trusted_until:
                raise Unavailable("the link to the store is not trusted")
            if now - began >= self._deadline:
                break
            if (record := self.peek(kid)) is not None:
                return record
            absent = self._negatives.get(kid, _ABSENT)
            if absent is not _ABSENT:
                self._probe.count(Event.CACHE_NEGATIVE_HIT)
                if isinstance(absent, Unreadable):
                    raise Unreadable(str(absent))
                return None
            await self._wait_for_load(kid, self._deadline - (now - began))
        self._probe.count(Event.LOOKUP_TIMEOUT)
        raise Unavailable("the record did not arrive in time")

    # ChangeSink

    def forget(self, kid: str, *, revoked: bool) -> None:
        """Drop the key's record and cached absence.

        If `revoked`, remember the kid, and keep a cached record as revoked, to be served stale
        only. At most MAX_REVOKED (100,000) kids are remembered.
        """
        cached = self._cached(kid) if revoked else None
        self._drop(kid)
        self._negatives.pop(kid, None)
        if revoked:
            self._revoked.put(kid, None)
            if cached is not None:  # for `peek_stale`; `peek` loads it again
                self._put(as_revoked(cached), NEVER)

    def flush(self, *, foreign: bool = False) -> None:
        """Stop serving all records as current, and drop the absent kids. Count FLUSH.

        Until trust is back the flushed records may be served stale. If `foreign`, they are dropped.
        Kids seen revoked are kept.
        """
        if foreign:
            self._flushed.clear()
        else:
            self._flushed.update(self._entries.packed)
        self._entries.clear()
        self._negatives.clear()
        self._probe.count(Event.FLUSH)

    def trust(self, until: float) -> None:
        """Serve records as current until `until` and drop flushed ones. A past time ends trust now.

        until: monotonic seconds.
        """
        now = self._monotonic()
        if now < until:
            self._trusted_until = self._last_trusted = until
            self._flushed.clear()
        else:
            self._trusted_until = 0.0
            self._last_trusted = min(self._last_trusted, now)

    # snapshots

    def contents(self) -> CacheContents:
        """Return a copy of all records, current and flushed, and the kids seen revoked.

        `last_trusted` is that of the cache. There are no aliases.
        """
        packed = {**self._flushed.packed, **self._entries.packed}
        return CacheContents(packed, list(self._revoked), self.last_trusted)

    def restore(self, contents: CacheContents) -> None:
        """Take over the contents of an earlier process, to be served stale.

        Call it at most once, before any record was current here. A kid that was seen revoked by
        either of them is restored as revoked.
        """
        self._last_trusted = contents.last_trusted
        self._flushed.update(contents.packed)
        for kid in contents.revoked:
            self._revoked.put(kid, None)
        for kid in self._revoked:
            if (record := self._cached(kid)) is not None:
                self._flushed.put(as_revoked(record), NEVER)

    # loads

    async def _wait_for_load(self, kid: str, seconds: float) -> None:
        load = self._loads.get(kid)
        if load is None:
            load = asyncio.get_running_loop().create_future()
            self._loads[kid] = load
            self._probe.count(Event.CACHE_MISS)
            self._source.load(kid, partial(self._deliver, kid, load))
        try:
            async with asyncio.timeout(seconds):
                fault = await asyncio.shield(load)
        except TimeoutError:
            self._probe.count(Event.LOOKUP_TIMEOUT)
            raise Unavailable("the store did not answer in time") from None
        if isinstance(fault, Elsewhere):
            raise Elsewhere(fault.partition)
        if fault is not None:
            raise Unavailable(str(fault))

    def _deliver(self, kid: str, load: asyncio.Future[Fault | None], loaded: Loaded) -> None:
        del self._loads[kid]
        fault = None
        if isinstance(loaded, KeyRecord):
            self._store(loaded)
        elif loaded is None or isinstance(loaded, Unreadable):
            self._drop(kid)
            self._negatives[kid] = loaded
        else:
            fault = loaded
        load.set_result(fault)

    def _store(self, record: KeyRecord) -> None:
        if record.status is Status.REVOKED:
            self._revoked.put(record.kid, None)
        elif record.kid in self._revoked:
            record = as_revoked(record)
        life = self._ttl * (1 - TTL_JITTER * self._jitter())
        if record.expires_at is not None:
            left = (record.expires_at - self._clock.wall_ms()) / 1000
            life = min(life, max(left, self._negative_ttl))
        self._drop(record.kid)
        self._put(record, self._monotonic() + life)

    def _put(self, record: KeyRecord, deadline: float) -> None:
        if self._entries.put(record, deadline):
            self._probe.count(Event.CACHE_EVICTION)

    def _cached(self, kid: str) -> KeyRecord | None:
        """Return the record, current or flushed, whatever its age; None if it is not cached."""
        record, _ = self._entries.fetch(kid) or self._flushed.fetch(kid) or (None, NEVER)
        return record

    def _drop(self, kid: str) -> None:
        """Drop the record, current and flushed."""
        self._entries.pop(kid)
        self._flushed.pop(kid)
