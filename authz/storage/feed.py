"""ChangeFeed: keeps the link to the store, tells the cache of changes, says when it may be trusted.

Rules:
1. Only the PONG for a PING sent at `t` extends trust, to `t + lease`. The store answers in order,
   so every change it took before that PING has been applied here.
2. Not before the sequence number that came with that heartbeat was compared with the last one
   applied. They differ: changes were missed, flush.
3. A link that closes, or leaves a lease full of heartbeats unanswered, ends trust at once. Then
   reconnect, for ever.
4. Every new link begins with a flush. Never link to a replica: each heartbeat asks.
5. The store must say that it is ours (authz:meta): another schema, another pepper or no meta at
   all means no trust, so an emptied store turns no good key into an unknown one.
"""

import asyncio
import logging
import os
import random
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from authz.core.errors import Unavailable
from authz.core.ports import ChangeSink, Clock, Event, Probe
from authz.storage import meta, schema
from authz.storage.endpoint import Endpoint
from authz.storage.link import Link, refusal

_T = TypeVar("_T")

log = logging.getLogger("authz.store")

HEARTBEATS_PER_LEASE: Final = 4
BACKOFF_MIN: Final = 0.010  # seconds
BACKOFF_MAX: Final = 0.500
CONNECTION_NAME: Final = "authz-sidecar"
PRIMARY: Final = "master"  # in the store's words


@dataclass(frozen=True, slots=True)
class FeedHealth:
    """Whether what is cached may be served now, and if not, why. `seq`: the last change applied."""

    trusted: bool
    reason: str
    seq: int | None


@dataclass(slots=True)
class _Heartbeat:
    """What one heartbeat has found so far. Its PONG comes last."""

    sent: float
    fault: str = ""

    @property
    def nonce(self) -> str:
        """What its PING says, and its PONG has to."""
        return f"{self.sent:.6f}"

    def blame(self, cause: Exception) -> None:
        """No trust, because of `cause`, unless something before it was the cause already."""
        self.fault = self.fault or str(cause)


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
        self._ours = fingerprints
        self._theirs: Mapping[str, str] | None = None
        self._imports: bool | None = None
        self._link: Link | None = None
        self._unanswered = 0
        self._trusted_until = 0.0
        self._applied: int | None = None
        self._in_step = False  # `_applied` was compared on this link
        self._fault = "connecting"

    @property
    def link(self) -> Link | None:
        """The open link, or None."""
        return self._link

    def health(self) -> FeedHealth:
        """What readiness reports."""
        trusted = self._clock.monotonic() < self._trusted_until
        reason = "" if trusted else self._fault or "waiting for a heartbeat"
        return FeedHealth(trusted, reason, self._applied)

    def refutes(self, pepper_version: str) -> bool:
        """See PepperProof."""
        if self._theirs is None:
            return False
        theirs = self._theirs.get(pepper_version)
        if theirs is None:  # the store may have got it since it was last heard
            return self._clock.monotonic() < self._trusted_until
        return theirs == self._ours.get(pepper_version)

    def has_imports(self) -> bool | None:
        """See AliasSource."""
        if self._imports or self._clock.monotonic() < self._trusted_until:
            return self._imports
        return None  # there may be some since the store was last heard

    async def run(self, sink: ChangeSink) -> None:
        """Feed `sink` until cancelled: connect, beat, and when that ends do it again."""
        backoff = BACKOFF_MIN
        while True:
            began = self._clock.monotonic()
            ended = asyncio.Event()
            try:
                link = await self._connect(sink, ended)
                await self._beat(link, sink, ended)
            except (Unavailable, OSError) as cause:
                self._report(self._explain(cause))
            finally:
                self._drop(sink)
            lasted = self._clock.monotonic() - began > self._lease
            backoff = BACKOFF_MIN if lasted else min(backoff * 2, BACKOFF_MAX)
            await asyncio.sleep(backoff * random.uniform(0.5, 1))  # noqa: S311  jitter

    async def _connect(self, sink: ChangeSink, ended: asyncio.Event) -> Link:
        self._unanswered = 0
        self._in_step = False
        async with asyncio.timeout(self._lease):
            self._link = link = await self._endpoint.open(
                lambda: Link(partial(self._on_push, sink), partial(self._on_lost, sink, ended))
            )
            hello = await self._endpoint.greet(link, CONNECTION_NAME)
            if hello.get("role") != PRIMARY:
                raise Unavailable(f"it is a {hello.get('role')}; only the primary can be trusted")
            await link.call("SUBSCRIBE", schema.CHANGES)
        sink.flush()
        self._probe.count(Event.LINK_CONNECTED)
        return link

    async def _beat(self, link: Link, sink: ChangeSink, ended: asyncio.Event) -> None:
        while link.is_open:
            if self._unanswered >= HEARTBEATS_PER_LEASE:
                raise Unavailable(f"it has not answered for {self._lease:g} s")
            self._unanswered += 1
            beat = _Heartbeat(self._clock.monotonic())
            link.send(partial(self._on_role, link, beat), "ROLE")
            link.send(partial(self._on_meta, beat), "HGETALL", schema.META)
            link.send(partial(self._on_seq, sink, beat), "GET", schema.SEQ)
            link.send(partial(self._on_pong, sink, beat), "PING", beat.nonce)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._lease / HEARTBEATS_PER_LEASE):
                    await ended.wait()
        raise Unavailable(link.fault)

    # what arrives, in the store's order; each of these is called by the parser

    def _on_role(self, link: Link, beat: _Heartbeat, reply: Any) -> None:
        try:
            role = _expect(list, reply)[:1]
        except Unavailable as cause:
            beat.blame(cause)
            return
        if role != [PRIMARY]:  # it was one when the link was made
            link.abort(f"it became {' '.join(map(str, role)) or 'something else'}")

    def _on_meta(self, beat: _Heartbeat, reply: Any) -> None:
        try:
            found = _expect(dict, reply)
            self._theirs = self._imports = None
            self._theirs = meta.verify(found, self._ours)
            self._imports = meta.has_imports(found)
        except Unavailable as cause:
            beat.blame(cause)

    def _on_seq(self, sink: ChangeSink, beat: _Heartbeat, reply: Any) -> None:
        try:
            seq = schema.number(schema.SEQ, _expect(str, "0" if reply is None else reply))
        except (Unavailable, ValueError) as cause:
            beat.blame(cause)
            return
        if self._applied is not None and seq < self._applied:
            self._probe.count(Event.SEQUENCE_WENT_BACK)
            log.error("the store went back from change %d to %d", self._applied, seq)
        if self._in_step and seq != self._applied:
            self._missed(sink)
        self._applied = seq
        self._in_step = True

    def _on_pong(self, sink: ChangeSink, beat: _Heartbeat, reply: Any) -> None:
        if isinstance(reply, Unavailable):  # said by the link: the store was not heard
            return
        if reply == beat.nonce:
            self._unanswered = 0
        else:
            beat.blame(Unavailable(f"unexpected answer to PING: {str(reply)[:100]}"))
        self._report(beat.fault)
        self._trust(sink, 0.0 if beat.fault else beat.sent + self._lease)

    def _on_push(self, sink: ChangeSink, push: list[Any]) -> None:
        if push[:1] != ["message"]:
            return
        try:
            notice = _expect(str, push[-1])
            seq, kid, revoked = schema.decode_notice(notice)
        except (Unavailable, ValueError):
            self._probe.count(Event.CHANGE_GARBLED)
            return
        if schema.tells_of_import(notice):
            self._imports = True
        sink.forget(kid, revoked=revoked)
        self._probe.count(Event.CHANGE_APPLIED)
        if not self._in_step or self._applied is None or seq <= self._applied:
            return  # before the first heartbeat, or repeated
        if seq != self._applied + 1:
            self._missed(sink)
        self._applied = seq

    def _on_lost(self, sink: ChangeSink, ended: asyncio.Event) -> None:
        self._probe.count(Event.LINK_LOST)
        self._trust(sink, 0.0)
        ended.set()

    # state

    def _missed(self, sink: ChangeSink) -> None:
        self._probe.count(Event.CHANGE_GAP)
        sink.flush()

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

    def _explain(self, cause: Exception) -> str:
        if isinstance(cause, TimeoutError):
            return f"it did not answer within {self._lease:g} s"
        if isinstance(cause, OSError):
            if cause.errno and cause.errno > 0:  # a resolver's are below
                return os.strerror(cause.errno)
            return str(cause.strerror or cause)
        return str(cause)


def _expect(kind: type[_T], reply: Any) -> _T:
    if isinstance(reply, kind):
        return reply
    if isinstance(reply, Exception):
        raise Unavailable(f"the store refused: {refusal(reply)}")
    raise Unavailable(f"unexpected answer: {str(reply)[:100]}")
