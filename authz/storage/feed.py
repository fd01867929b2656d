"""ChangeFeed: keeps the link to the store, passes changes to the cache, and reports trust.

Rules:
1. Only heartbeats grant trust, see heartbeats.py.
2. If the link closes, or heartbeats stay unanswered for a whole lease, trust ends at once. Then the
   feed reconnects, without limit.
3. Never link to a replica: HELLO must name the primary.
4. A refusal of a cluster because of our slot ends trust at once, see cluster_link.py. While it
   lasts, other nodes are asked for the owner, see owner_watch.py.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from authz.core.errors import Unavailable
from authz.core.events import Event
from authz.core.ports import ChangeSink, Clock, Probe
from authz.core.store_clock import StoreClock
from authz.process.background import started
from authz.storage import notices, reconnect, schema
from authz.storage.clock_watch import ClockWatch
from authz.storage.crowd import Crowd
from authz.storage.endpoint import Endpoint
from authz.storage.follower import Flush, Follower
from authz.storage.heartbeats import AWAITED, PRIMARY, Heartbeats
from authz.storage.imported_index import ImportedIndex
from authz.storage.lag import LagHistogram, LagSummary
from authz.storage.latest_meta import LatestMeta
from authz.storage.link import Link
from authz.storage.owner_watch import watch_owner
from authz.storage.signpost import refuse_other_count
from authz.storage.trust_lease import TrustLease

CONNECTION_NAME: Final = "authz-sidecar"


@dataclass(frozen=True, slots=True)
class FeedHealth:
    """The state of trust: whether cached records may be served now, or the reason why not.

    reason: "" while trusted. seq: the last change applied, None before the first heartbeat. flush:
    the last flush because of missed changes, or None. lag: how late changes are applied. trust_age:
    seconds since the last heartbeat that granted trust was sent, None if none did. clock_offset:
    the store's clock minus ours in seconds, or None.
    """

    trusted: bool
    reason: str
    seq: int | None
    flush: Flush | None = None
    lag: LagSummary | None = None
    trust_age: float | None = field(default=None, compare=False)
    clock_offset: float | None = field(default=None, compare=False)


class ChangeFeed:
    """The sidecar's link to the store for records and changes. `run` keeps it open.

    lease: seconds of trust that one heartbeat grants. fingerprints: of our peppers, by version.
    prefixes: the key prefixes that this sidecar reads; a store with keys of others causes a
    warning. store_clock: receives the store's clock with each heartbeat. imported_index: bound on
    the entries of `imported`, the index of imported digests; 0 holds none. crowd: the sidecars of
    this store. awaits_data: the partition is about to be set up, by a move of the store.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        clock: Clock,
        probe: Probe,
        *,
        lease: float,
        fingerprints: Mapping[str, str],
        prefixes: Collection[str] = (),
        store_clock: StoreClock | None = None,
        imported_index: int = 0,
        crowd: Crowd | None = None,
        awaits_data: bool = False,
    ) -> None:
        self._endpoint = endpoint
        self._names = endpoint.names
        self._clock = clock
        self._probe = probe
        self._lease = lease
        self._clock_watch = ClockWatch(store_clock or StoreClock(lease), clock)
        self.crowd = crowd or Crowd()
        self._trust = TrustLease(clock, lease, endpoint, expected=AWAITED)
        self._meta = LatestMeta(fingerprints, self._trust.is_valid, prefixes, self._names)
        self._follower = Follower(clock, probe, endpoint.names)
        self.imported = ImportedIndex(clock, endpoint.names, imported_index)
        self._heartbeats = Heartbeats(
            endpoint,
            clock,
            self._trust,
            lease=lease,
            follower=self._follower,
            meta=self._meta,
            clock_watch=self._clock_watch,
            imported=self.imported,
            awaits_data=awaits_data,
        )
        self._sink: ChangeSink
        self._link: Link | None = None
        self._greeted: Link | None = None  # the last one that was logged in

    @property
    def link(self) -> Link | None:
        """The link from its connection to its end, perhaps not yet logged in.

        None between attempts.
        """
        return self._link

    @property
    def names(self) -> schema.Names:
        """The names of our data in the store."""
        return self._names

    @property
    def meta(self) -> LatestMeta:
        """The latest content of `authz:meta`: the peppers and whether keys were imported."""
        return self._meta

    def health(self) -> FeedHealth:
        """Return the state of trust at this moment, for readiness. Changes nothing."""
        now, follower, sent = self._clock.monotonic(), self._follower, self._trust.sent
        trusted = now < self._trust.until
        behind = "reading missed changes from the log" if follower.is_reading else ""
        return FeedHealth(
            trusted,
            "" if trusted else self._trust.fault or behind or "waiting for a heartbeat",
            follower.seq,
            follower.last_flush,
            follower.lag.summary(),
            None if sent is None else round(now - sent, 3),
            self._clock_watch.offset,
        )

    @property
    def seq(self) -> int | None:
        """The number of the last change applied.

        None if unknown: before the first heartbeat, or if the log did not cover missed changes.
        """
        return self._follower.seq

    @property
    def clock_offset(self) -> float | None:
        """The store's clock minus ours in seconds; None before the first reading.

        0 if the round trip of the last reading may be the whole difference.
        """
        return self._clock_watch.offset

    @property
    def highest(self) -> int:
        """The highest change number that this process has seen in any store, or 0."""
        return self._follower.highest

    @property
    def reason(self) -> str:
        """The last reported fault of the link or store, with the store's address. "" if it is over.

        "connecting" before the first attempt has ended.
        """
        return self._trust.fault

    @property
    def is_foreign(self) -> bool:
        """True if the last authz:meta read has another schema or other peppers than ours."""
        return self._heartbeats.is_foreign

    @property
    def awaits_data(self) -> bool:
        """True until a move of the store has set up this partition, if it was to be awaited."""
        return self._heartbeats.awaits_data

    @property
    def is_frozen(self) -> bool:
        """True while the store takes no changes, because it is being moved to more partitions."""
        return self._heartbeats.is_frozen

    def record_read(self, version: int) -> None:
        """Note that a record of this version was read over the link. It may raise `highest`."""
        self._follower.record_read(version)

    @property
    def lag(self) -> LagHistogram:
        """Histogram of how late changes were applied, in milliseconds."""
        return self._follower.lag

    def look(self) -> None:
        """Send a heartbeat now, if the link is in use. Its answers grant or end trust."""
        if self._link is not None and self._link is self._greeted:
            self._heartbeats.send(self._link)

    async def run(
        self, sink: ChangeSink, announce: Callable[[Link], None] = lambda _link: None
    ) -> None:
        """Feed `sink` until cancelled: connect, send heartbeats, and reconnect when the link ends.

        announce: called with the link before each heartbeat. Faults are logged when they change,
        not raised.
        """
        self._sink = sink
        self._trust.start(sink)
        self._heartbeats.start(sink, announce)
        await reconnect.repeat(self._attempt, self._clock, enough=self._lease, crowd=self.crowd)

    async def _attempt(self) -> None:
        ended = asyncio.Event()
        try:
            link = await self._connect(ended)
            async with self._watched(link):
                await self._heartbeats.repeat(link, ended)
        except (Unavailable, OSError) as cause:
            self._trust.report(reconnect.describe(cause, self._lease))
        finally:
            self._drop()

    @asynccontextmanager
    async def _watched(self, link: Link) -> AsyncIterator[None]:
        """Look for another owner meanwhile, on a cluster."""
        if not self._names.is_clustered:
            yield
            return
        doubts = self._heartbeats.is_doubtful
        watching = started(watch_owner(link, self._endpoint, self.crowd, doubts))
        try:
            yield
        finally:
            watching.cancel()

    async def _connect(self, ended: asyncio.Event) -> Link:
        async with asyncio.timeout(self._lease):
            self._link = link = await self._endpoint.open(
                lambda: self._endpoint.link(
                    self._on_push, partial(self._on_lost, ended), self._heartbeats.refused
                )
            )
            hello = await self._endpoint.greet(link, CONNECTION_NAME)
            if hello.get("role") != PRIMARY:
                raise Unavailable(f"it is a {hello.get('role')}; only the primary can be trusted")
            await link.call(*self._names.subscribe)
            if self._names.partitions > 1 and not await link.call("EXISTS", self._names.meta):
                await refuse_other_count(self._endpoint)
        self._heartbeats.begin_link()
        self._greeted = link
        self._follower.follow(link, self._sink, partial(self._heartbeats.send, link))
        self._probe.count(Event.LINK_CONNECTED)
        return link

    # The parser calls this, in the store's order with the replies.
    def _on_push(self, push: list[Any]) -> None:
        if push[:1] in (["message"], ["smessage"]):
            if isinstance(push[-1], str) and notices.announces_import(push[-1]):
                self._meta.note_import()
                self.imported.note(push[-1])
            self._follower.notice(push[-1])

    def _on_lost(self, ended: asyncio.Event) -> None:
        self._probe.count(Event.LINK_LOST)
        self._trust.end()
        ended.set()

    def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.abort()
        self._trust.end()
