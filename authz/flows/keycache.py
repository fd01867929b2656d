"""KeyCache: a key reader over a key source, and the sink of the change feed.

Rules:
1. A record is served only while `now < trusted_until`, read at answer time.
2. The cache is the only hand-over: a waiter serves what the cache holds when it wakes, never what
   its load carried. So a change that arrived between the load and the waiter is never missed.
3. At most one load per kid; a cancelled waiter cancels nobody else.
4. A kid seen revoked stays revoked through flushes, reloads and a store that went back in time.
5. Bounded, and negatives bounded apart: garbage cannot push out good keys.
6. No secret text inside. So a fault is raised anew for each waiter: one that is kept and raised
   again collects the frames of all of them, and those hold the keys that were presented.
"""

import asyncio
import random
from collections.abc import Callable
from functools import partial
from typing import Final

from cachetools import TTLCache

from authz.core.errors import Fault, Unavailable, Unreadable
from authz.core.ports import Clock, Event, KeySource, Loaded, Probe
from authz.core.records import KeyRecord, Status, as_revoked

MAX_REVOKED: Final = 100_000
MAX_ATTEMPTS: Final = 3
TTL_JITTER: Final = 0.1

_ABSENT: Final = object()


class KeyCache:
    """Records by kid. `peek` never waits; `find` waits for the source, at most `deadline` seconds.

    ttl, negative_ttl, deadline: seconds. max_entries bounds records, max_negatives what is known
    to be absent or unreadable.
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
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._source = source
        self._clock = clock
        self._monotonic = clock.monotonic
        self._probe = probe
        self._ttl = ttl
        self._negative_ttl = negative_ttl
        self._max_entries = max_entries
        self._deadline = deadline
        self._jitter = jitter
        self._trusted_until = 0.0
        self._entries: dict[str, tuple[KeyRecord, float]] = {}
        self._negatives: TTLCache[str, Unreadable | None] = TTLCache(
            max_negatives, negative_ttl, self._monotonic
        )
        self._revoked: dict[str, None] = {}
        self._loads: dict[str, asyncio.Future[Fault | None]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def peek(self, kid: str) -> KeyRecord | None:
        """The record if it can be served now, without waiting for anything."""
        entry = self._entries.get(kid)
        if entry is None:
            return None
        now = self._monotonic()
        if now < entry[1] and now < self._trusted_until:
            return entry[0]
        return None

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
        self._entries.pop(kid, None)
        self._negatives.pop(kid, None)
        if revoked:
            self._remember_revoked(kid)

    def flush(self) -> None:
        """See ChangeSink."""
        self._entries.clear()
        self._negatives.clear()
        self._probe.count(Event.FLUSH)

    def trust(self, until: float) -> None:
        """See ChangeSink."""
        self._trusted_until = until

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
        self._entries.pop(record.kid, None)
        if len(self._entries) >= self._max_entries:
            del self._entries[next(iter(self._entries))]
            self._probe.count(Event.CACHE_EVICTION)
        self._entries[record.kid] = (record, self._monotonic() + life)

    def _remember_revoked(self, kid: str) -> None:
        self._revoked.pop(kid, None)
        if len(self._revoked) >= MAX_REVOKED:
            del self._revoked[next(iter(self._revoked))]
        self._revoked[kid] = None
