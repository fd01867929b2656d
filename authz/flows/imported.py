"""ImportedKeys: keys of somebody else's make, found by their digests.

Rules:
1. Which kid a digest leads to never changes once it was made: an alias is kept through changes and
   flushes, and dropped only when its record is gone, as in a store that was set up anew, or when
   the store turns out to be another's. So what is known here is gone on with in an outage, too.
2. That there is no alias is known briefly, and not beyond any change: it may be an import.
3. Anybody can send text that looks like one. So lookups are bounded in rate, and beyond that the
   answer is Unavailable: never "no such key" for what was not looked up.
4. At most one lookup per key; a cancelled waiter cancels nobody else.
5. It stands between the change feed and the cache of records, and passes on what it is told.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from authz.core.errors import Fault, Unavailable
from authz.core.events import Event
from authz.core.keys.keyring import Alias, Imported
from authz.core.ports import AliasSource, Clock, LoadedAlias, Probe
from authz.core.records import KeyRecord
from authz.core.token_bucket import TokenBucket
from authz.flows.keycache import CacheContents, KeyCache

MAX_ATTEMPTS: Final = 3

Found = tuple[Alias, KeyRecord]


class ImportedKeys:
    """An imported key's record. `peek` never waits; `find` does, at most `deadline` seconds.

    rate: lookups of aliases a second. negative_ttl, deadline: seconds. max_entries bounds aliases,
    max_negatives the texts that are known to have none.
    """

    def __init__(
        self,
        source: AliasSource,
        cache: KeyCache,
        clock: Clock,
        probe: Probe,
        *,
        rate: float,
        negative_ttl: float,
        max_entries: int,
        max_negatives: int,
        deadline: float,
    ) -> None:
        self._source = source
        self._cache = cache
        self._monotonic = clock.monotonic
        self._probe = probe
        self._bucket = TokenBucket(rate)
        self._negative_ttl = negative_ttl
        self._max_entries = max_entries
        self._max_negatives = max_negatives
        self._deadline = deadline
        self._trusted_until = 0.0
        self._kids: OrderedDict[bytes, str] = OrderedDict()
        self._absent: OrderedDict[bytes, float] = OrderedDict()  # until when
        self._loads: dict[bytes, asyncio.Future[Fault | None]] = {}
        self.exist = source.has_imports

    def peek(self, imported: Imported) -> Found | None:
        """The key's record if it can be served now, without waiting for anything."""
        alias = self._alias(digest for _, digest in imported.digests())
        record = alias and self._cache.peek(alias.kid)
        return (alias, record) if alias and record else None

    def recall(self, imported: Imported) -> Found | None:
        """The record to go on with while the store is out of reach; see KeyCache."""
        alias = self._alias(digest for _, digest in imported.digests())
        record = alias and self._cache.recall(alias.kid)
        return (alias, record) if alias and record else None

    async def find(self, imported: Imported) -> Found | None:
        """The key's record, or None when there is no such key. Raises Unavailable."""
        digests = [digest for _, digest in imported.digests()]
        try:
            async with asyncio.timeout(self._deadline):
                for _ in range(MAX_ATTEMPTS):
                    alias = await self._resolve(digests)
                    if alias is None:
                        return None
                    record = await self._cache.find(alias.kid)
                    if record is not None:
                        return alias, record
                    self._kids.pop(alias.digest(), None)
        except TimeoutError:
            self._probe.count(Event.LOOKUP_TIMEOUT)
            raise Unavailable("the store did not answer in time") from None
        return None

    # ChangeSink

    def forget(self, kid: str, *, revoked: bool) -> None:
        """See ChangeSink."""
        self._absent.clear()
        self._cache.forget(kid, revoked=revoked)

    def flush(self, *, foreign: bool = False) -> None:
        """See ChangeSink."""
        self._absent.clear()
        if foreign:
            self._kids.clear()
        self._cache.flush(foreign=foreign)

    def trust(self, until: float) -> None:
        """See ChangeSink."""
        self._trusted_until = until
        self._cache.trust(until)

    # over a restart

    @property
    def is_trusted(self) -> bool:
        """See KeyCache."""
        return self._cache.is_trusted

    @property
    def held_until(self) -> float:
        """See KeyCache."""
        return self._cache.held_until

    def holdings(self) -> CacheContents:
        """See KeyCache. With the aliases."""
        return replace(self._cache.holdings(), aliases=list(self._kids.items()))

    def restore(self, held: CacheContents) -> None:
        """See KeyCache. With the aliases."""
        self._cache.restore(held)
        self._kids.update(held.aliases[-self._max_entries :])

    # lookups

    def _alias(self, digests: Iterable[bytes]) -> Alias | None:
        for digest in digests:
            kid = self._kids.get(digest)
            if kid is not None:
                return Alias(kid, digest)
        return None

    async def _resolve(self, digests: Sequence[bytes]) -> Alias | None:
        """The alias, as what is known here says when this wakes; see KeyCache."""
        for _ in range(MAX_ATTEMPTS):
            now = self._monotonic()
            if now >= self._trusted_until:
                raise Unavailable("the link to the store is not trusted")
            alias = self._alias(digests)
            if alias is not None:
                return alias
            if now < self._absent.get(digests[0], 0.0):
                self._probe.count(Event.ALIAS_NEGATIVE_HIT)
                return None
            await self._wait_for_lookup(digests, now)
        raise Unavailable("imports do not pause; the alias is not known")

    async def _wait_for_lookup(self, digests: Sequence[bytes], now: float) -> None:
        load = self._loads.get(digests[0])
        if load is None:
            if not self._bucket.take(now):
                self._probe.count(Event.ALIAS_LOOKUP_LIMITED)
                raise Unavailable("too many lookups of imported keys")
            load = asyncio.get_running_loop().create_future()
            self._loads[digests[0]] = load
            self._probe.count(Event.ALIAS_MISS)
            self._source.resolve(digests, partial(self._deliver, digests[0], load))
        fault = await asyncio.shield(load)
        if fault is not None:
            raise Unavailable(str(fault))

    def _deliver(
        self, newest: bytes, load: asyncio.Future[Fault | None], loaded: LoadedAlias
    ) -> None:
        del self._loads[newest]
        fault = None
        if isinstance(loaded, Alias):
            if len(self._kids) >= self._max_entries:
                self._kids.popitem(last=False)
            self._kids[loaded.digest()] = loaded.kid
        elif loaded is None:
            self._absent.pop(newest, None)
            if len(self._absent) >= self._max_negatives:
                self._absent.popitem(last=False)
            self._absent[newest] = self._monotonic() + self._negative_ttl
        else:
            fault = loaded
        load.set_result(fault)
