"""ImportedKeys: keys of other systems, found by their digests.

Rules:
1. A digest never leads to another kid. So an alias is kept through changes and flushes, and serves
   stale during an outage. It is dropped if its record is gone (the store was set up anew), or if
   the store turns out not to be ours.
2. The absence of an alias is cached briefly. Each change drops it, for it may be an import.
3. Anybody can send text that looks like an imported key. If the index of all imported digests
   proves that it is none, it costs no lookup. A text whose digest is in the index is looked up in
   any case: nobody can make such a text without the pepper. Lookups of other texts are limited in
   rate and shared fairly by client address. Beyond the rate the reply is Unavailable, never "no
   such key".
   The digest of a key is of its SHA-256; earlier versions stored that of its text. One lookup asks
   for both, and the digest of the text wins: its record may be revoked.
4. At most one lookup per key is under way. A cancelled waiter cancels no other.
5. It stands between the change feed and the record cache, and passes on every call of the feed.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from authz.core.bounded import BoundedDict
from authz.core.errors import Fault, Unavailable
from authz.core.events import Event
from authz.core.fair_budget import FairBudget
from authz.core.keys.credentials import Alias, Imported
from authz.core.ports import AliasSource, Clock, KnownDigests, LoadedAlias, Probe
from authz.core.records import KeyRecord
from authz.flows.cache_contents import CacheContents
from authz.flows.keycache import KeyCache

MAX_ATTEMPTS: Final = 3

Found = tuple[Alias, KeyRecord]


class ImportedKeys:
    """Lookup of imported keys. `peek` never waits; `find` waits at most `deadline` seconds.

    rate: lookups of aliases per second, shared by all client addresses. negative_ttl, deadline:
    seconds. max_entries: bound on aliases. max_negatives: bound on digests that are known to have
    none. known: the index of imported digests. exist: returns whether keys were ever imported, None
    while that is unknown.
    """

    def __init__(
        self,
        source: AliasSource,
        cache: KeyCache,
        clock: Clock,
        probe: Probe,
        *,
        known: KnownDigests,
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
        self._known = known
        self._budget = FairBudget(rate)
        self._negative_ttl = negative_ttl
        self._max_entries = max_entries
        self._deadline = deadline
        self._trusted_until = 0.0
        self._kids: BoundedDict[bytes, str] = BoundedDict(max_entries)
        self._absent_until: BoundedDict[bytes, float] = BoundedDict(max_negatives)
        self._lookups: dict[bytes, asyncio.Future[Fault | None]] = {}
        self.exist = source.has_imports

    def peek(self, imported: Imported) -> Found | None:
        """Return alias and record if both are cached and the record is current, else None."""
        alias = self._alias(imported.all_digests())
        record = alias and self._cache.peek(alias.kid)
        return (alias, record) if alias and record else None

    def peek_stale(self, imported: Imported) -> Found | None:
        """Return alias and record if the record may be served stale in an outage, else None.

        `KeyCache.peek_stale` decides. The alias must be cached.
        """
        alias = self._alias(imported.all_digests())
        record = alias and self._cache.peek_stale(alias.kid)
        return (alias, record) if alias and record else None

    def has(self, imported: Imported) -> bool:
        """Return whether the text is or was that of a key, as far as is known without I/O."""
        digests = imported.all_digests()
        return self._alias(digests) is not None or self._known.includes(digests)

    def may_have(self, imported: Imported) -> bool:
        """Return whether the text may be that of a key: it is not proven that it is none."""
        is_trusted = self._monotonic() < self._trusted_until
        return not (is_trusted and self._known.excludes(imported.all_digests()))

    def is_excluded(self, imported: Imported) -> bool:
        """Return whether the text is proven to be no imported key, without I/O."""
        if self.may_have(imported):
            return False
        self._probe.count(Event.ALIAS_EXCLUDED)
        return True

    async def find(self, imported: Imported, address: str) -> Found | None:
        """Return alias and record, or None if there is no such key.

        address: the client's, whose share of the lookups a lookup takes. Raises Unavailable if the
        link is not trusted, the rate or the deadline is exceeded, the store fails, or the record is
        unreadable.
        """
        digests = imported.all_digests()
        try:
            async with asyncio.timeout(self._deadline):
                for _ in range(MAX_ATTEMPTS):
                    alias = await self._resolve(digests, address)
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
        """Drop the key's record, and all cached absences: the change may be an import.

        Aliases stay. `revoked`: as in `KeyCache.forget`.
        """
        self._absent_until.clear()
        self._cache.forget(kid, revoked=revoked)

    def flush(self, *, foreign: bool = False) -> None:
        """Flush the cache as `KeyCache.flush` does, and drop cached absences.

        If `foreign`, aliases are dropped too.
        """
        self._absent_until.clear()
        if foreign:
            self._kids.clear()
        self._cache.flush(foreign=foreign)

    def trust(self, until: float) -> None:
        """Serve aliases and records as current until this monotonic time, in seconds.

        0 or another past time ends trust now.
        """
        self._trusted_until = until
        self._cache.trust(until)

    # snapshots

    @property
    def is_trusted(self) -> bool:
        """True while the cached records are current, by the trust in the link to the store."""
        return self._cache.is_trusted

    @property
    def last_trusted(self) -> float:
        """The last moment at which the cached records were trusted, in monotonic seconds.

        Now, while they are trusted.
        """
        return self._cache.last_trusted

    def contents(self) -> CacheContents:
        """Return the contents of the cache together with the aliases."""
        return replace(self._cache.contents(), aliases=list(self._kids.items()))

    def restore(self, contents: CacheContents) -> None:
        """Restore the cache as `KeyCache.restore` does, and the newest `max_entries` aliases."""
        self._cache.restore(contents)
        self._kids.update(contents.aliases[-self._max_entries :])

    # lookups

    def _alias(self, digests: Iterable[bytes]) -> Alias | None:
        for digest in digests:
            kid = self._kids.get(digest)
            if kid is not None:
                return Alias(kid, digest)
        return None

    async def _resolve(self, digests: Sequence[bytes], address: str) -> Alias | None:
        """Return the alias that is cached, after a lookup if need be; None if there is none.

        Raises Unavailable if the link is not trusted, the rate is exceeded, the store fails, or
        imports clear the result MAX_ATTEMPTS (3) times.
        """
        for _ in range(MAX_ATTEMPTS):
            now = self._monotonic()
            if now >= self._trusted_until:
                raise Unavailable("the link to the store is not trusted")
            alias = self._alias(digests)
            if alias is not None:
                return alias
            if now < self._absent_until.get(digests[0], 0.0):
                self._probe.count(Event.ALIAS_NEGATIVE_HIT)
                return None
            await self._wait_for_lookup(digests, address, now)
        raise Unavailable("imports do not pause; the alias is not known")

    async def _wait_for_lookup(self, digests: Sequence[bytes], address: str, now: float) -> None:
        lookup = self._lookups.get(digests[0])
        if lookup is None:
            if not (self._known.includes(digests) or self._budget.take(address, now)):
                self._probe.count(Event.ALIAS_LOOKUP_LIMITED)
                raise Unavailable("too many lookups of imported keys")
            lookup = asyncio.get_running_loop().create_future()
            self._lookups[digests[0]] = lookup
            self._probe.count(Event.ALIAS_MISS)
            self._source.resolve(digests, partial(self._deliver, digests[0], lookup))
        fault = await asyncio.shield(lookup)
        if fault is not None:
            raise Unavailable(str(fault))

    def _deliver(
        self, newest: bytes, lookup: asyncio.Future[Fault | None], loaded: LoadedAlias
    ) -> None:
        del self._lookups[newest]
        fault = None
        if isinstance(loaded, Alias):
            self._kids.put(loaded.digest(), loaded.kid)
        elif loaded is None:
            self._absent_until.put(newest, self._monotonic() + self._negative_ttl)
        else:
            fault = loaded
        lookup.set_result(fault)
