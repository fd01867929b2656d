"""KeyCache: a key reader over a key source, and the sink of the change feed.

Rules:
1. A record is served as current only while `now < trusted_until`, read at answer time.
2. The cache is the only hand-over: a waiter serves what the cache holds when it wakes, never what
   its load carried. So a change that arrived between the load and the waiter is never missed.
3. At most one load per kid; a cancelled waiter cancels nobody else.
4. A kid seen revoked stays revoked through flushes, reloads and a store that went back in time.
5. Bounded, and negatives bounded apart: garbage cannot push out good keys.
6. No secret text inside. So a fault is raised anew for each waiter: one that is kept and raised
   again collects the frames of all of them, and those hold the keys that were presented.

In an outage, while the link to the store is not trusted, `recall` gives what is held:

7. While `now < held_until + grace`: the last moment at which trust held, and the key's own grace or
   the sidecar's. As trust proves every change that was made a lease before, nothing is served
   later than lease + grace after a change. The TTL does not end an entry, its `expires_at` does.
8. Losing trust moves `held_until` back to that moment, and only new trust moves it on: a link that
   comes and goes without being trusted prolongs nothing.
9. What a flush takes out is held for an outage until trust is back, and no longer: with trust it
   can be read anew, and what is held then is as new as the change that trust was proven for.
10. A store that was emptied is an outage like any other. One that turns out to be another's is
   not: nothing that is held is served any more.
11. A record that was changed, or read as absent or unreadable, is not held. One that was revoked is
   recalled as revoked, for as long as it is held: that is final, so it has no age.
"""

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from cachetools import TTLCache

from authz.core.errors import Fault, Unavailable, Unreadable
from authz.core.events import Event
from authz.core.ports import Clock, KeySource, Loaded, Probe
from authz.core.records import KeyRecord, Status, as_revoked
from authz.flows.packed_records import MAX_IN_USE, NEVER, PackedRecords, unpack

MAX_REVOKED: Final = 100_000
MAX_ATTEMPTS: Final = 10  # a key may be changed while it is read; the deadline ends it, too
TTL_JITTER: Final = 0.1

_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class CacheContents:
    """What a cache holds, to be kept over a restart. `held_until`: by the monotonic clock.

    aliases: digests of imported keys, and the kids that they lead to.
    """

    packed: Mapping[str, bytes] = field(repr=False)  # records by kid
    revoked: list[str]
    held_until: float
    aliases: Sequence[tuple[bytes, str]] = ()

    def records(self) -> Iterator[KeyRecord]:
        """Unpacked one by one, as they are asked for."""
        return (unpack(packed)[0] for packed in self.packed.values())


class KeyCache:
    """Records by kid. `peek` never waits; `find` waits for the source, at most `deadline` seconds.

    ttl, negative_ttl, deadline, grace: seconds; grace is for keys that have none of their own.
    max_entries bounds records, max_in_use those that are at hand without unpacking, max_negatives
    what is known to be absent or unreadable.
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
        self._held_until = NEVER
        self._entries = PackedRecords(max_entries, max_in_use)
        self._at_hand = self._entries.at_hand
        self._packed = self._entries.packed
        self._outage = PackedRecords(max_entries, max_in_use)  # what flushes took out; rule 9
        self._negatives: TTLCache[str, Unreadable | None] = TTLCache(
            max_negatives, negative_ttl, self._monotonic
        )
        self._revoked: dict[str, None] = {}
        self._loads: dict[str, asyncio.Future[Fault | None]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def negatives(self) -> int:
        """How many kids are known to be absent or unreadable."""
        return len(self._negatives)

    @property
    def is_trusted(self) -> bool:
        """Is what is held current? While it is not, `find` is in vain."""
        return self._monotonic() < self._trusted_until

    @property
    def held_until(self) -> float:
        """The last moment at which trust held over what is held: now, while it does."""
        return min(self._held_until, self._monotonic())

    @property
    def grace_left(self) -> float:
        """Seconds for which keys without a grace of their own go on; 0 when nothing is held."""
        held = self._entries or self._outage
        return max(0.0, self._held_until + self._grace - self._monotonic()) if held else 0.0

    def peek(self, kid: str) -> KeyRecord | None:
        """The record if it can be served now, without waiting for anything."""
        entry = self._at_hand(kid)
        if entry is None and kid in self._packed:
            entry = self._entries.fetch(kid)
        if entry is None:
            return None
        now = self._monotonic()
        if now < entry[1] and now < self._trusted_until:
            return entry[0]
        return None

    def recall(self, kid: str) -> KeyRecord | None:
        """The record to go on with while the store is out of reach, as far as its grace goes."""
        record = self._held(kid)
        if record is None or record.status is Status.REVOKED:
            return record
        own = record.outage_grace
        grace = self._grace if own is None else own / 1000
        return record if self._monotonic() < self._held_until + grace else None

    async def find(self, kid: str) -> KeyRecord | None:
        """The record, or None when there is no such key. Raises Unavailable."""
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
        """See ChangeSink."""
        held = self._held(kid) if revoked else None
        self._drop(kid)
        self._negatives.pop(kid, None)
        if revoked:
            self._remember_revoked(kid)
            if held is not None:  # for `recall`; `peek` reads anew
                self._put(as_revoked(held), NEVER)

    def flush(self, *, foreign: bool = False) -> None:
        """See ChangeSink."""
        if foreign:
            self._outage.clear()
        else:
            self._outage.update(self._entries.packed)
        self._entries.clear()
        self._negatives.clear()
        self._probe.count(Event.FLUSH)

    def trust(self, until: float) -> None:
        """See ChangeSink."""
        now = self._monotonic()
        if now < until:
            self._trusted_until = self._held_until = until
            self._outage.clear()
        else:
            self._trusted_until = 0.0
            self._held_until = min(self._held_until, now)

    # over a restart

    def holdings(self) -> CacheContents:
        """All that `recall` could give, copied at once, and the kids seen revoked."""
        packed = {**self._outage.packed, **self._entries.packed}
        return CacheContents(packed, list(self._revoked), self.held_until)

    def restore(self, held: CacheContents) -> None:
        """Hold what an earlier process held, for an outage. Before the feed runs, at most once."""
        self._held_until = held.held_until
        self._outage.update(held.packed)
        for kid in held.revoked:
            self._remember_revoked(kid)
            if (record := self._held(kid)) is not None:
                self._outage.put(as_revoked(record), NEVER)

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
        if fault is not None:
            raise Unavailable(str(fault))

    def _deliver(self, kid: str, load: asyncio.Future[Fault | None], loaded: Loaded) -> None:
        del self._loads[kid]
        fault = None
        if isinstance(loaded, KeyRecord):
            self._keep(loaded)
        elif loaded is None or isinstance(loaded, Unreadable):
            self._drop(kid)
            self._negatives[kid] = loaded
        else:
            fault = loaded
        load.set_result(fault)

    def _keep(self, record: KeyRecord) -> None:
        if record.status is Status.REVOKED:
            self._remember_revoked(record.kid)
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

    def _held(self, kid: str) -> KeyRecord | None:
        """The record, current or held for an outage."""
        record, _ = self._entries.fetch(kid) or self._outage.fetch(kid) or (None, NEVER)
        return record

    def _drop(self, kid: str) -> None:
        """Hold this record no more, neither as current nor for an outage."""
        self._entries.pop(kid)
        self._outage.pop(kid)

    def _remember_revoked(self, kid: str) -> None:
        self._revoked.pop(kid, None)
        if len(self._revoked) >= MAX_REVOKED:
            del self._revoked[next(iter(self._revoked))]
        self._revoked[kid] = None
