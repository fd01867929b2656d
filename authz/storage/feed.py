"""ChangeFeed: keeps the link to the store, tells the cache of changes, says when it may be trusted.

Rules:
1. Only the PONG for a PING sent at `t` extends trust, to `t + lease`. The store answers in order,
   so every change it took before that PING has been applied here.
2. Not before the sequence number that came with that heartbeat was compared with the last one
   applied. They differ: changes were missed, flush.
3. A link that closes, or is silent for a lease, ends trust at once. Then reconnect, for ever.
4. Every new link begins with a flush. Never link to a replica.
5. The store must say that it is ours (authz:meta): another schema, another pepper or no meta at
   all means no trust, so an emptied store turns no good key into an unknown one.
"""

import asyncio
import logging
import random
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from authz.core.errors import BadInput, Unavailable
from authz.core.ports import ChangeSink, Clock, Event, Probe
from authz.storage import meta, schema
from authz.storage.endpoint import Endpoint
from authz.storage.link import Link

log = logging.getLogger("authz.store")

HEARTBEATS_PER_LEASE: Final = 4
BACKOFF_MIN: Final = 0.010  # seconds
BACKOFF_MAX: Final = 0.500
CONNECTION_NAME: Final = "authz-sidecar"


@dataclass(frozen=True, slots=True)
class FeedHealth:
    """Whether what is cached may be served now, and if not, why. `seq`: the last change applied."""

    trusted: bool
    reason: str
    seq: int | None


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
        self._link: Link | None = None
        self._ended = asyncio.Event()
        self._heard = 0.0
        self._trusted_until = 0.0
        self._applied: int | None = None
        self._fault = "connecting"
        self._beat_fault = ""

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
        return theirs is None or theirs == self._ours.get(pepper_version)

    async def run(self, sink: ChangeSink) -> None:
        """Feed `sink` until cancelled: connect, beat, and when that ends do it again."""
        backoff = BACKOFF_MIN
        while True:
            began = self._clock.monotonic()
            try:
                link = await self._connect(sink)
                await self._beat(link, sink)
            except (Unavailable, OSError) as cause:
                self._report(self._explain(cause))
            finally:
                self._drop(sink)
            lasted = self._clock.monotonic() - began > self._lease
            backoff = BACKOFF_MIN if lasted else min(backoff * 2, BACKOFF_MAX)
            await asyncio.sleep(backoff * random.uniform(0.5, 1))  # noqa: S311  jitter

    async def _connect(self, sink: ChangeSink) -> Link:
        self._ended.clear()
        self._applied = None
        async with asyncio.timeout(self._lease):
            link = await self._endpoint.open(
                lambda: Link(partial(self._on_push, sink), partial(self._on_lost, sink))
            )
            self._link = link
            hello = await self._endpoint.greet(link, CONNECTION_NAME)
            role = hello.get("role", "master")
            if role != "master":
                raise Unavailable(f"{self._endpoint} is a {role}; only the primary can be trusted")
            await link.call("SUBSCRIBE", schema.CHANGES)
        sink.flush()
        self._probe.count(Event.LINK_CONNECTED)
        return link

    async def _beat(self, link: Link, sink: ChangeSink) -> None:
        self._heard = self._clock.monotonic()
        while link.is_open:
            if self._clock.monotonic() - self._heard >= self._lease:
                raise Unavailable(f"{self._endpoint} has not answered for {self._lease:g} s")
            sent = self._clock.monotonic()
            link.send(self._on_meta, "HGETALL", schema.META)
            link.send(partial(self._on_seq, sink), "GET", schema.SEQ)
            link.send(partial(self._on_pong, sink, sent), "PING", f"{sent:.6f}")
            with suppress(TimeoutError):
                async with asyncio.timeout(self._lease / HEARTBEATS_PER_LEASE):
                    await self._ended.wait()
        raise Unavailable(f"{self._endpoint} closed the connection")

    # what arrives, in the store's order; each of these is called by the parser

    def _on_meta(self, reply: Any) -> None:
        try:
            self._theirs = meta.verify(_expect(dict, reply), self._ours)
            self._beat_fault = ""
        except Unavailable as cause:
            self._beat_fault = self._explain(cause)

    def _on_seq(self, sink: ChangeSink, reply: Any) -> None:
        if isinstance(reply, Exception):
            self._beat_fault = self._beat_fault or self._explain(reply)
            return
        seq = int(reply) if str(reply).isdecimal() else 0
        if self._applied is not None and seq != self._applied:
            if seq < self._applied:
                self._probe.count(Event.SEQUENCE_WENT_BACK)
                log.error("the store went back from change %d to %d", self._applied, seq)
            self._missed(sink)
        self._applied = seq

    def _on_pong(self, sink: ChangeSink, sent: float, reply: Any) -> None:
        if reply != f"{sent:.6f}":
            return
        self._heard = self._clock.monotonic()
        self._report(self._beat_fault)
        self._trust(sink, 0.0 if self._beat_fault else sent + self._lease)

    def _on_push(self, sink: ChangeSink, push: list[Any]) -> None:
        if push[0] != "message":
            return
        try:
            seq, kid, revoked = schema.decode_notice(push[2])
        except (ValueError, IndexError, BadInput):
            self._probe.count(Event.CHANGE_GARBLED)
            return
        sink.forget(kid, revoked=revoked)
        self._probe.count(Event.CHANGE_APPLIED)
        if self._applied is None or seq <= self._applied:  # before the first heartbeat, or repeated
            return
        if seq != self._applied + 1:
            self._missed(sink)
        self._applied = seq

    def _on_lost(self, sink: ChangeSink) -> None:
        self._probe.count(Event.LINK_LOST)
        self._trust(sink, 0.0)
        self._ended.set()

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
        if fault == self._fault:
            return
        self._fault = fault
        if fault:
            log.warning("store not trusted: %s", fault)
        else:
            log.info("store trusted: %s", self._endpoint)

    def _explain(self, cause: Exception) -> str:
        if isinstance(cause, TimeoutError):
            return f"{self._endpoint} did not answer within {self._lease:g} s"
        if isinstance(cause, OSError):
            return f"{self._endpoint}: {cause.strerror or cause}"
        return str(cause)


def _expect(kind: type[dict[str, str]], reply: Any) -> dict[str, str]:
    if isinstance(reply, kind):
        return reply
    raise Unavailable(f"unexpected answer: {str(reply)[:100]}")
