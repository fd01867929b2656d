"""ChangeFeed: keeps the link to the store, passes changes to the cache, and grants trust.

Rules:
1. Only the PONG to a PING sent at `t` extends trust, to `t + lease`. The store answers in order.
   So every change that it made before that PING has been applied here.
2. Trust is extended only if the sequence number in that heartbeat equals the last change applied.
   If they differ, changes were missed. They are read from the log, or the cache is flushed (see
   follower.py).
3. If the link closes, or heartbeats stay unanswered for a whole lease, trust ends at once. Then the
   feed reconnects, without limit.
4. Never link to a replica: each heartbeat sends ROLE. Behind Sentinel each heartbeat also writes. A
   primary that lost its replicas then loses trust, even if it does not know of a new primary: it
   refuses the write, or no replica acknowledges it (see replication.py).
5. `authz:meta` must say that the store is ours. Without it, or with another schema or pepper, there
   is no trust. So an emptied store does not turn good keys into unknown ones. Another schema or
   pepper means another store, so entries kept for an outage are dropped too.
6. Each heartbeat reads the store's clock and passes it to `store_clock` before it grants trust.
7. Before each PING `run` calls `announce`. Its writes are in the store before the PONG that grants
   trust.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import hiredis

from authz.core.errors import Foreign, Unavailable
from authz.core.events import Event
from authz.core.ports import ChangeSink, Clock, Probe
from authz.core.store_clock import StoreClock
from authz.storage import encoding, notices, reconnect, schema
from authz.storage.clock_watch import ClockWatch
from authz.storage.endpoint import Endpoint
from authz.storage.essential import EssentialWrites
from authz.storage.follower import Flush, Follower
from authz.storage.heartbeat import Heartbeat
from authz.storage.lag import LagHistogram, LagSummary
from authz.storage.link import Link, expect, refusal
from authz.storage.meta import Emptied, LatestMeta
from authz.storage.replication import Replication

log = logging.getLogger("authz.store")

HEARTBEATS_PER_LEASE: Final = 4
CONNECTION_NAME: Final = "authz-sidecar"
PRIMARY: Final = "master"  # the store's own word
NOT_ACKNOWLEDGED: Final = "no replica acknowledges its writes"


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
    warning. store_clock: receives the store's clock with each heartbeat.
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
    ) -> None:
        self._endpoint = endpoint
        self._names = endpoint.names
        self._clock = clock
        self._probe = probe
        self._lease = lease
        self._clock_watch = ClockWatch(store_clock or StoreClock(lease), clock)
        self._meta = LatestMeta(fingerprints, self._is_trusted, prefixes)
        self._sink: ChangeSink
        self._announce: Callable[[Link], None]
        self._link: Link | None = None
        self._unanswered = 0
        self._trusted_until = 0.0
        self._trust_sent: float | None = None  # when the last heartbeat that granted trust was sent
        self._follower = Follower(clock, probe, endpoint.names)
        self._replication = Replication(lease) if endpoint.has_replicas else None
        self._writes = EssentialWrites()
        self._fault = "connecting"
        self._is_foreign = False

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
        now, follower = self._clock.monotonic(), self._follower
        trusted = now < self._trusted_until
        behind = "reading missed changes from the log" if follower.is_reading else ""
        return FeedHealth(
            trusted,
            "" if trusted else self._fault or behind or "waiting for a heartbeat",
            follower.seq,
            follower.last_flush,
            follower.lag.summary(),
            None if self._trust_sent is None else round(now - self._trust_sent, 3),
            self._clock_watch.offset,
        )

    @property
    def seq(self) -> int | None:
        """The number of the last change applied.

        None if unknown, such as before the first heartbeat.
        """
        return self._follower.seq

    @property
    def clock_offset(self) -> float | None:
        """The store's clock minus ours in seconds; None before the first reading.

        0 within the round trip.
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
        return self._fault

    @property
    def is_foreign(self) -> bool:
        """True if the last authz:meta read has another schema or other peppers than ours."""
        return self._is_foreign

    def record_read(self, version: int) -> None:
        """Note that a record of this version was read over the link. It may raise `highest`."""
        self._follower.record_read(version)

    @property
    def lag(self) -> LagHistogram:
        """Histogram of how late changes were applied, in milliseconds."""
        return self._follower.lag

    async def run(
        self, sink: ChangeSink, announce: Callable[[Link], None] = lambda _link: None
    ) -> None:
        """Feed `sink` until cancelled: connect, send heartbeats, and reconnect when the link ends.

        announce: called with the link before each heartbeat. Faults are logged when they change,
        not raised.
        """
        self._sink, self._announce = sink, announce
        await reconnect.repeat(self._attempt, self._clock, enough=self._lease)

    async def _attempt(self) -> None:
        ended = asyncio.Event()
        try:
            link = await self._connect(ended)
            await self._send_heartbeats(link, ended)
        except (Unavailable, OSError) as cause:
            self._report(reconnect.describe(cause, self._lease))
        finally:
            self._drop()

    async def _connect(self, ended: asyncio.Event) -> Link:
        self._unanswered = 0
        async with asyncio.timeout(self._lease):
            self._link = link = await self._endpoint.open(
                lambda: Link(self._on_push, partial(self._on_lost, ended))
            )
            hello = await self._endpoint.greet(link, CONNECTION_NAME)
            if hello.get("role") != PRIMARY:
                raise Unavailable(f"it is a {hello.get('role')}; only the primary can be trusted")
            await link.call("SUBSCRIBE", self._names.changes)
        if self._replication is not None:
            self._replication.start(self._clock.monotonic())
        self._follower.follow(link, self._sink, partial(self._send_heartbeat, link))
        self._probe.count(Event.LINK_CONNECTED)
        return link

    async def _send_heartbeats(self, link: Link, ended: asyncio.Event) -> None:
        while link.is_open:
            if self._unanswered >= HEARTBEATS_PER_LEASE:
                raise Unavailable(f"it has not answered for {self._lease:g} s")
            self._unanswered += 1
            self._send_heartbeat(link)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._lease / HEARTBEATS_PER_LEASE):
                    await ended.wait()
        raise Unavailable(link.fault)

    def _send_heartbeat(self, link: Link) -> None:
        beat = Heartbeat(self._clock.monotonic())
        self._announce(link)
        if self._replication is not None:
            on_written = partial(self._on_written, link)
            self._writes.send(link, on_written, "SET", self._names.heartbeat, beat.nonce)
        link.send(partial(self._on_role, link, beat), "ROLE")
        link.send(partial(self._on_meta, beat), "HGETALL", self._names.meta)
        link.send(partial(self._on_seq, beat), "GET", self._names.seq)
        link.send(partial(self._on_time, beat), "TIME")
        link.send(partial(self._on_pong, beat), "PING", beat.nonce)

    # Replies and pushes. The parser calls these in the store's order.

    def _on_role(self, link: Link, beat: Heartbeat, reply: Any) -> None:
        try:
            role = expect(list, reply)
            if role[:1] != [PRIMARY]:  # it was the primary when the link was made
                link.abort(f"it became {' '.join(map(str, role[:1])) or 'something else'}")
            elif self._replication is not None:
                self._check_replicas(self._replication, link, beat, role)
        except (Unavailable, ValueError) as cause:
            beat.fail(cause)

    def _check_replicas(
        self, replication: Replication, link: Link, beat: Heartbeat, role: list[Any]
    ) -> None:
        replication.observe(beat.sent, role)
        if not replication.is_followed(beat.sent):
            beat.fail(Unavailable(NOT_ACKNOWLEDGED))
            if replication.is_overdue(beat.sent):  # reconnect, to ask Sentinel again
                link.abort(NOT_ACKNOWLEDGED)

    def _on_meta(self, beat: Heartbeat, reply: Any) -> None:
        try:
            self._meta.update(expect(dict, reply))
            self._is_foreign = False
        except Unavailable as cause:
            if isinstance(cause, Emptied):
                beat.fail(Emptied(self.highest))
            if isinstance(cause, Foreign) and not self._is_foreign:
                self._is_foreign = True
                self._sink.flush(foreign=True)
            beat.fail(cause)

    def _on_written(self, link: Link, reply: Any) -> None:
        if isinstance(reply, hiredis.ReplyError):  # reconnect, to ask Sentinel again
            link.abort(f"it takes no writes: {refusal(reply)}")

    def _on_seq(self, beat: Heartbeat, reply: Any) -> None:
        try:
            seq = encoding.number(self._names.seq, expect(str, "0" if reply is None else reply))
        except (Unavailable, ValueError) as cause:
            beat.fail(cause)
        else:
            self._follower.catch_up(seq)
            beat.in_step = self._follower.is_in_step

    def _on_time(self, beat: Heartbeat, reply: Any) -> None:
        try:
            seconds, micros = (encoding.number("TIME", part) for part in expect(list, reply))
        except (Unavailable, ValueError, AttributeError) as cause:
            beat.fail(cause)
            return
        store_ms = seconds * 1000 + micros // 1000
        self._clock_watch.measured(store_ms, beat.sent, self._clock.monotonic())

    def _on_pong(self, beat: Heartbeat, reply: Any) -> None:
        if isinstance(reply, Unavailable):  # from the link itself: the store did not answer
            return
        if reply == beat.nonce:
            self._unanswered = 0
        else:
            beat.fail(Unavailable(f"unexpected answer to PING: {str(reply)[:100]}"))
        if beat.fault:
            self._report(beat.fault)
            self._trust(0.0)
        elif beat.in_step:
            self._report("")
            self._trust_sent = beat.sent
            self._trust(beat.sent + self._lease)

    def _on_push(self, push: list[Any]) -> None:
        if push[:1] == ["message"]:
            if isinstance(push[-1], str) and notices.announces_import(push[-1]):
                self._meta.note_import()
            self._follower.notice(push[-1])

    def _on_lost(self, ended: asyncio.Event) -> None:
        self._probe.count(Event.LINK_LOST)
        self._trust(0.0)
        ended.set()

    def _is_trusted(self) -> bool:
        return self._clock.monotonic() < self._trusted_until

    def _trust(self, until: float) -> None:
        self._trusted_until = until
        self._sink.trust(until)

    def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.abort()
        self._trust(0.0)

    def _report(self, fault: str) -> None:
        """Keep the reason for missing trust, and log it if it changed. "": trust is back."""
        fault = fault and f"{self._endpoint}: {fault}"
        if fault == self._fault:
            return
        self._fault = fault
        if fault:
            log.warning("store not trusted: %s", fault)
        else:
            log.info("store trusted: %s", self._endpoint)
