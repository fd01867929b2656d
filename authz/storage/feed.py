"""ChangeFeed: keeps the link to the store, tells the cache of changes, says when it may be trusted.

Rules:
1. Only the PONG for a PING sent at `t` extends trust, to `t + lease`. The store answers in order,
   so every change it took before that PING has been applied here.
2. Not before the sequence number that came with that heartbeat was compared with the last one
   applied. They differ: changes were missed, and are read from the log or make a flush (see
   follower.py). No trust is extended by a heartbeat that found us behind.
3. A link that closes, or leaves a lease full of heartbeats unanswered, ends trust at once. Then
   reconnect, for ever.
4. Never link to a replica: each heartbeat asks. Behind Sentinel each also writes, so that a primary
   that lost its replicas and does not know that there is a new one loses our trust: it refuses the
   write, or, where it was not told to, no replica acknowledges it (see replication.py).
5. The store must say that it is ours (authz:meta): another schema, another pepper or no meta at
   all means no trust, so an emptied store turns no good key into an unknown one. The first two
   also end what was held for an outage: this is another store.
6. Before each PING `run` calls `announce`: what is written there is in the store before it answers
   with trust.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import hiredis

from authz.core.errors import Foreign, Unavailable
from authz.core.events import Event
from authz.core.ports import ChangeSink, Clock, Probe
from authz.storage import meta, notices, reconnect, schema
from authz.storage.endpoint import Endpoint
from authz.storage.follower import Flush, Follower
from authz.storage.heartbeat import Heartbeat
from authz.storage.lag import LagHistogram, LagSummary
from authz.storage.link import Link, expect, refusal
from authz.storage.replication import Replication

log = logging.getLogger("authz.store")

HEARTBEATS_PER_LEASE: Final = 4
CONNECTION_NAME: Final = "authz-sidecar"
PRIMARY: Final = "master"  # in the store's words
ALONE: Final = "no replica acknowledges what it is given"


@dataclass(frozen=True, slots=True)
class FeedHealth:
    """Whether what is cached may be served now, and if not, why.

    seq: the last change applied. trust_age: seconds since the heartbeat that trust was last granted
    for was sent. flush: the last time that changes were missed for good. lag: how late changes are.
    """

    trusted: bool
    reason: str
    seq: int | None
    flush: Flush | None = None
    lag: LagSummary | None = None
    trust_age: float | None = field(default=None, compare=False)


class ChangeFeed:
    """Owns the one link of the data path: `run` keeps it open, lookups are sent on `link`.

    lease: seconds that one heartbeat is good for. fingerprints: of our peppers, by version.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        clock: Clock,
        probe: Probe,
        *,
        lease: float,
        fingerprints: Mapping[str, str],
    ) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._probe = probe
        self._lease = lease
        self._meta = meta.Heard(fingerprints, self._is_trusted)
        self.refutes = self._meta.refutes  # see PepperProof
        self.has_imports = self._meta.has_imports  # see AliasSource
        self._link: Link | None = None
        self._unanswered = 0
        self._trusted_until = 0.0
        self._heard: float | None = None  # when the heartbeat of the last trust was sent
        self._follower = Follower(clock, probe)
        self._replication = Replication(lease) if endpoint.has_replicas else None
        self._fault = "connecting"
        self._is_foreign = False
        self._announce: Callable[[Link], None] = lambda _link: None

    @property
    def link(self) -> Link | None:
        """The open link, or None."""
        return self._link

    def health(self) -> FeedHealth:
        """What readiness reports."""
        now, follower = self._clock.monotonic(), self._follower
        trusted = now < self._trusted_until
        behind = "reading missed changes from the log" if follower.is_reading else ""
        return FeedHealth(
            trusted,
            "" if trusted else self._fault or behind or "waiting for a heartbeat",
            follower.seq,
            follower.last_flush,
            follower.lag.summary(),
            None if self._heard is None else round(now - self._heard, 3),
        )

    @property
    def seq(self) -> int | None:
        """The last change applied."""
        return self._follower.seq

    @property
    def reason(self) -> str:
        """Why there is no trust, as far as that is known; empty while nothing is wrong."""
        return self._fault

    @property
    def is_foreign(self) -> bool:
        """Has the store turned out not to be ours?"""
        return self._is_foreign

    def saw(self, version: int) -> None:
        """A record of this version was read over the link."""
        self._follower.saw(version)

    @property
    def lag(self) -> LagHistogram:
        """How late changes were applied, for telemetry."""
        return self._follower.lag

    async def run(
        self, sink: ChangeSink, announce: Callable[[Link], None] = lambda _link: None
    ) -> None:
        """Feed `sink` until cancelled: connect, beat, and when that ends do it again."""
        self._announce = announce
        await reconnect.keep(partial(self._attempt, sink), self._clock, enough=self._lease)

    async def _attempt(self, sink: ChangeSink) -> None:
        ended = asyncio.Event()
        try:
            link = await self._connect(sink, ended)
            await self._beat(link, sink, ended)
        except (Unavailable, OSError) as cause:
            self._report(reconnect.explained(cause, self._lease))
        finally:
            self._drop(sink)

    async def _connect(self, sink: ChangeSink, ended: asyncio.Event) -> Link:
        self._unanswered = 0
        async with asyncio.timeout(self._lease):
            self._link = link = await self._endpoint.open(
                lambda: Link(self._on_push, partial(self._on_lost, sink, ended))
            )
            hello = await self._endpoint.greet(link, CONNECTION_NAME)
            if hello.get("role") != PRIMARY:
                raise Unavailable(f"it is a {hello.get('role')}; only the primary can be trusted")
            await link.call("SUBSCRIBE", schema.CHANGES)
        if self._replication is not None:
            self._replication.link(self._clock.monotonic())
        self._follower.follow(link, sink, partial(self._send_heartbeat, link, sink))
        self._probe.count(Event.LINK_CONNECTED)
        return link

    async def _beat(self, link: Link, sink: ChangeSink, ended: asyncio.Event) -> None:
        while link.is_open:
            if self._unanswered >= HEARTBEATS_PER_LEASE:
                raise Unavailable(f"it has not answered for {self._lease:g} s")
            self._unanswered += 1
            self._send_heartbeat(link, sink)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._lease / HEARTBEATS_PER_LEASE):
                    await ended.wait()
        raise Unavailable(link.fault)

    def _send_heartbeat(self, link: Link, sink: ChangeSink) -> None:
        beat = Heartbeat(self._clock.monotonic())
        self._announce(link)
        if self._replication is not None:
            link.send(partial(self._on_written, link), "SET", schema.HEARTBEAT, beat.nonce)
        link.send(partial(self._on_role, link, beat), "ROLE")
        link.send(partial(self._on_meta, sink, beat), "HGETALL", schema.META)
        link.send(partial(self._on_seq, beat), "GET", schema.SEQ)
        link.send(partial(self._on_pong, sink, beat), "PING", beat.nonce)

    # what arrives, in the store's order; each of these is called by the parser

    def _on_role(self, link: Link, beat: Heartbeat, reply: Any) -> None:
        try:
            role = expect(list, reply)
            if role[:1] != [PRIMARY]:  # it was one when the link was made
                link.abort(f"it became {' '.join(map(str, role[:1])) or 'something else'}")
            elif self._replication is not None and not self._replication.look(beat.sent, role):
                beat.blame(Unavailable(ALONE))
                if self._replication.had_its_time(beat.sent):  # ask Sentinel again
                    link.abort(ALONE)
        except (Unavailable, ValueError) as cause:
            beat.blame(cause)

    def _on_meta(self, sink: ChangeSink, beat: Heartbeat, reply: Any) -> None:
        try:
            self._meta.read(expect(dict, reply))
            self._is_foreign = False
        except Unavailable as cause:
            if isinstance(cause, Foreign) and not self._is_foreign:
                self._is_foreign = True
                sink.flush(foreign=True)
            beat.blame(cause)

    def _on_written(self, link: Link, reply: Any) -> None:
        if isinstance(reply, hiredis.ReplyError):  # ask Sentinel again
            link.abort(f"it takes no writes: {refusal(reply)}")

    def _on_seq(self, beat: Heartbeat, reply: Any) -> None:
        try:
            seq = schema.number(schema.SEQ, expect(str, "0" if reply is None else reply))
        except (Unavailable, ValueError) as cause:
            beat.blame(cause)
        else:
            beat.in_step = self._follower.compare(seq)

    def _on_pong(self, sink: ChangeSink, beat: Heartbeat, reply: Any) -> None:
        if isinstance(reply, Unavailable):  # said by the link: the store was not heard
            return
        if reply == beat.nonce:
            self._unanswered = 0
        else:
            beat.blame(Unavailable(f"unexpected answer to PING: {str(reply)[:100]}"))
        if beat.fault:
            self._report(beat.fault)
            self._trust(sink, 0.0)
        elif beat.in_step:
            self._report("")
            self._heard = beat.sent
            self._trust(sink, beat.sent + self._lease)

    def _on_push(self, push: list[Any]) -> None:
        if push[:1] == ["message"]:
            if isinstance(push[-1], str) and notices.tells_of_import(push[-1]):
                self._meta.tell_of_import()
            self._follower.notice(push[-1])

    def _on_lost(self, sink: ChangeSink, ended: asyncio.Event) -> None:
        self._probe.count(Event.LINK_LOST)
        self._trust(sink, 0.0)
        ended.set()

    # state

    def _is_trusted(self) -> bool:
        return self._clock.monotonic() < self._trusted_until

    def _trust(self, sink: ChangeSink, until: float) -> None:
        self._trusted_until = until
        sink.trust(until)

    def _drop(self, sink: ChangeSink) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.abort()
        self._trust(sink, 0.0)

    def _report(self, fault: str) -> None:
        """Remember why there is no trust; log it when it changes, not every time."""
        fault = fault and f"{self._endpoint}: {fault}"
        if fault == self._fault:
            return
        self._fault = fault
        if fault:
            log.warning("store not trusted: %s", fault)
        else:
            log.info("store trusted: %s", self._endpoint)
