"""Registration: a sidecar writes into the store which change it applied last.

Rules:
1. A sidecar writes its entry before each PING, on the same link. So the store has the entry before
   it answers the heartbeat. After the last entry, trust lasts at most one lease.
2. A sidecar acknowledges a change only if its cache holds nothing older. So it does not acknowledge
   without trust, or between a flush and the next trust, when flushed entries may still be served.
3. On a new link the entry names no change until that link is trusted. The store may be a restored
   one, which gives the same numbers to other changes.
4. The first acknowledgement leaves at once, later ones after a pause, which grows with the number
   of sidecars (see crowd.py). So a burst of changes causes one write instead of thousands.
5. Entries are kept longer than any key can be served in an outage. A sidecar that wrote nothing for
   longer than its lease + grace serves nothing, even if its entry still exists.
   Rule 7 is the exception.
6. The entry is written at each heartbeat, its place in the index once a lease. It is written again
   at once when the cache is flushed, because the store may have lost its data.
7. A store that cannot write to its disk refuses entries, and the link stays trusted. No key can be
   changed meanwhile. If the link breaks then, this sidecar serves for its lease + grace while its
   entry looks older. A change in that time, on a store that writes again, does not wait for it.
   docs/operations.md says so.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

from authz.core.errors import Unavailable
from authz.core.ports import ChangeSink, Clock
from authz.core.seals import EntrySeals
from authz.core.sidecars import Sidecar
from authz.storage.crowd import RECENT_MS
from authz.storage.essential import EssentialWrites
from authz.storage.feed import ChangeFeed
from authz.storage.heartbeats import HEARTBEATS_PER_LEASE
from authz.storage.link import Link
from authz.storage.refusals import refusal
from authz.storage.registry import KEPT_MS

log = logging.getLogger("authz.store")

LEAVE_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The constant fields of a sidecar's entry; see core/sidecars.py for their meaning.

    started_at: ms since the epoch. charges: the prefix of its charge ids. lease_ms, grace_ms: how
    long the sidecar may serve without the store.
    """

    instance: str
    version: str
    address: str
    started_at: int
    lease_ms: int
    grace_ms: int
    charges: str = ""


class Registration:
    """A ChangeSink around `sink` that also writes this sidecar's entry into the store.

    entries: returns the number of cached records. settings: returns the hash of the settings in
    force and the time of their load, in ms since the epoch. issued: returns the number of charge
    ids that were given out. predecessor: the instance whose records were restored from a snapshot,
    or "". Its entry is removed at the first acknowledgement. seals: seals the entries; None: they
    get no seal. serves: returns whether this cache is served from. Until then its entry names no
    change, so a change waits for it.
    """

    def __init__(
        self,
        sink: ChangeSink,
        feed: ChangeFeed,
        clock: Clock,
        identity: Identity,
        *,
        entries: Callable[[], int],
        settings: Callable[[], tuple[str, int]] = lambda: ("", 0),
        issued: Callable[[], int] = int,
        predecessor: str = "",
        seals: EntrySeals | None = None,
        serves: Callable[[], bool] = lambda: True,
    ) -> None:
        self._sink = sink
        self._seals = seals
        self._serves = serves
        self._has_left = False
        self._feed = feed
        self._clock = clock
        self._identity = asdict(identity)
        self._instance = identity.instance
        self._names = feed.names
        self._name = self._names.sidecar(identity.instance)
        self._entries = entries
        self._settings = settings
        self._issued = issued
        self._predecessor = predecessor
        self._trusted_until = 0.0
        self._is_current = False  # no flushed entry may still be served
        self._acknowledged: int | None = None
        self._pruned_on: Link | None = None  # old entries were removed once on this link
        self._heartbeats = 0  # on this link
        self._indexed_on: Link | None = None
        self._trusted_link: Link | None = None  # the numbers are those of the store behind it
        self._acknowledged_at = float("-inf")
        self._due: asyncio.Handle | None = None
        self._refusal = ""
        self._writes = EssentialWrites()

    def forget(self, kid: str, *, revoked: bool) -> None:
        """Pass the change on to the sink.

        If the cache is current, write the entry with the feed's position within
        `Crowd.acknowledge_pause`.
        """
        self._sink.forget(kid, revoked=revoked)
        if self._due is None and self._is_current:
            self._acknowledge_soon()

    def flush(self, *, foreign: bool = False) -> None:
        """Flush the sink. Until the next trust, the entries that are written name no change.

        With a link, write the entry's place in the index again. If `foreign`, remove the entry
        instead.
        """
        self._is_current = False
        self._acknowledged = None  # the numbers may begin anew
        self._sink.flush(foreign=foreign)
        link = self._feed.link
        if link is None:
            return
        if foreign:
            self._heartbeats = 0  # if the store becomes ours, the next one writes the index
            self._remove(link, self._instance, _ignore)
        elif not self._feed.is_foreign:
            self._index(link)

    def trust(self, until: float) -> None:
        """Pass the trust on to the sink. until: monotonic seconds; a time in the past ends trust.

        If trusted, write the entry within `Crowd.acknowledge_pause` if the feed's position has
        moved.
        """
        self._sink.trust(until)
        self._trusted_until = until
        self._is_current = self._is_trusted
        if self._is_current:
            self._trusted_link = self._feed.link
        if self._due is None and self._is_current and self._feed.seq != self._acknowledged:
            self._acknowledge_soon()

    def announce(self, link: Link) -> None:
        """Send the entry, and return at once. To be called before each PING.

        Once a lease, also send its time to the index, and ask how many sidecars there are. Does
        nothing if the store is foreign. The first time on a link, also remove the members of both
        indexes that are older than KEPT_MS (25 h).
        """
        if self._feed.is_foreign or self._has_left:
            return
        self._write(link)
        if link is not self._pruned_on:
            self._pruned_on = link
            self._heartbeats = 0
            oldest = str(self._clock.wall_ms() - KEPT_MS)
            for name in (self._names.sidecars, self._names.issued):
                link.send(_ignore, "ZREMRANGEBYSCORE", name, "-inf", oldest)
        if self._heartbeats % HEARTBEATS_PER_LEASE == 0:
            self._index(link)
            recent = str(self._clock.wall_ms() - RECENT_MS)
            link.send(self._feed.crowd.note, "ZCOUNT", self._names.sidecars, recent, "+inf")
        self._heartbeats += 1

    async def leave(self) -> None:
        """Remove the entry after this sidecar has stopped serving. Wait at most 0.2 s for it.

        It is not written again. Without a link it returns at once and the entry stays. A failure is
        ignored.
        """
        self._has_left = True
        link = self._feed.link
        if link is None:
            return
        gone: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._remove(link, self._instance, gone.set_result)
        await asyncio.wait([gone], timeout=LEAVE_SECONDS)

    async def report_issued(self, charges: str = "", issued: int = 0) -> None:
        """Write the final number of charge ids, after this sidecar has stopped serving.

        charges, issued: prefix and number of other ids, from before a move of the store. Wait at
        most 0.2 s for it. Does nothing without a link, if the store is foreign, or without charge
        ids. A failure is ignored: then the last entry has the number of the last heartbeat.
        """
        link = self._feed.link
        if not charges:
            charges, issued = self._identity["charges"], self._issued()
        if link is None or self._feed.is_foreign or not charges:
            return
        written: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        now, member = self._clock.wall_ms(), f"{charges} {issued} {self._instance}"
        self._writes.send(link, written.set_result, "ZADD", self._names.issued, str(now), member)
        await asyncio.wait([written], timeout=LEAVE_SECONDS)

    def _index(self, link: Link) -> None:
        name, now = self._names.sidecars, str(self._clock.wall_ms())
        self._writes.send(link, partial(self._on_indexed, link), "ZADD", name, now, self._instance)

    def _remove(self, link: Link, instance: str, on_reply: Callable[[Any], None]) -> None:
        link.send(_ignore, "ZREM", self._names.sidecars, instance)
        link.send(on_reply, "DEL", self._names.sidecar(instance))

    @property
    def _is_trusted(self) -> bool:
        return self._clock.monotonic() < self._trusted_until

    def _acknowledge_soon(self) -> None:
        # Later, because the feed calls its sink before it moves its position.
        wait = (
            self._acknowledged_at + self._feed.crowd.acknowledge_pause() - self._clock.monotonic()
        )
        self._due = asyncio.get_running_loop().call_later(max(0.0, wait), self._acknowledge)

    def _acknowledge(self) -> None:
        self._due = None
        link, seq = self._feed.link, self._feed.seq
        is_current = self._is_current and self._is_trusted and self._serves()
        if link is None or not is_current or self._has_left:
            return
        self._acknowledged = seq
        self._acknowledged_at = self._clock.monotonic()
        self._write(link)
        if self._predecessor:
            self._remove(link, self._predecessor, _ignore)
            self._predecessor = ""

    def _write(self, link: Link) -> None:
        settings, settings_at = self._settings()
        entry = Sidecar(
            **self._identity,
            applied=self._acknowledged if link is self._trusted_link else None,
            trusted=self._is_trusted,
            reason=self._feed.reason,
            entries=self._entries(),
            seen=self._feed.highest,
            settings=settings,
            settings_at=settings_at,
            issued=self._issued(),
            reads_compact=True,
        )
        members = asdict(entry)
        text = json.dumps(members if self._seals is None else self._seals.sealed(members))
        self._writes.send(link, self._on_written, "SET", self._name, text, "PX", str(KEPT_MS))

    def _on_indexed(self, link: Link, reply: Any) -> None:
        """Look at the reply to ZADD: 1 if the sidecar was not in the index."""
        if reply == 1 and link is self._indexed_on:
            log.warning("this sidecar was removed from the registry of sidecars, not by itself")
        self._indexed_on = link

    def _on_written(self, reply: Any) -> None:
        problem = refusal(reply) if isinstance(reply, Exception) else ""
        if problem != self._refusal and not isinstance(reply, Unavailable):
            self._refusal = problem
            if problem:
                log.warning("the store does not let this sidecar register: %s", problem)


def _ignore(_reply: Any) -> None:
    pass
