"""Who the sidecars are, and which change each has applied. The sidecar's side, and the reader's.

Rules:
1. A sidecar speaks before each PING, on the same link. So a heartbeat that the store has answered
   was preceded by its word, and silence bounds trust: it is trusted for at most a lease longer.
2. It acknowledges a change only when it holds nothing that is older: not without trust, and not
   between a flush and the trust after it, when what the flush took out is still held.
3. On a new link it says nothing of what it has applied before that link is trusted: the store may
   be another, one that was restored, and give the same numbers to other changes.
4. The first acknowledgement leaves at once, those after it at most every PAUSE: a burst of changes
   is one write, not thousands.
5. What it said is kept for longer than any key can go on in an outage. Who was silent for longer
   than its lease + grace is no sidecar any more, whatever is kept of it.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, get_type_hints

import redis.asyncio
from redis import exceptions

from authz.core.errors import Unavailable
from authz.core.fields import MAX_OUTAGE_GRACE_MS
from authz.core.ports import ChangeSink, Clock
from authz.core.sidecars import Heard, Sidecar
from authz.storage import schema
from authz.storage.feed import ChangeFeed
from authz.storage.link import Link, refusal

log = logging.getLogger("authz.store")

PAUSE: Final = 0.020  # seconds
LEAVE_SECONDS: Final = 0.2
KEPT_MS: Final = MAX_OUTAGE_GRACE_MS + 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What does not change while a sidecar runs. The words are those of core/sidecars.py."""

    instance: str
    version: str
    address: str
    started_at: int
    lease_ms: int
    grace_ms: int


class Registration:
    """Says in the store what `feed` has applied to `sink`: a ChangeSink around that sink.

    predecessor: the instance whose records were restored from a snapshot, if any. Its word stands
    for this process until this one holds nothing of it any more.
    """

    def __init__(
        self,
        sink: ChangeSink,
        feed: ChangeFeed,
        clock: Clock,
        identity: Identity,
        *,
        entries: Callable[[], int],
        predecessor: str = "",
    ) -> None:
        self._sink = sink
        self._feed = feed
        self._clock = clock
        self._identity = asdict(identity)
        self._instance = identity.instance
        self._name = schema.sidecar(identity.instance)
        self._entries = entries
        self._predecessor = predecessor
        self._trusted_until = 0.0
        self._is_complete = False  # nothing is held that a flush took out
        self._acknowledged: int | None = None
        self._known_to: Link | None = None
        self._vouched_for: Link | None = None  # the numbers are those of the store behind it
        self._spoke_at = float("-inf")
        self._due: asyncio.Handle | None = None
        self._refusal = ""

    # ChangeSink

    def forget(self, kid: str, *, revoked: bool) -> None:
        """See ChangeSink."""
        self._sink.forget(kid, revoked=revoked)
        if self._due is None and self._is_complete:
            self._acknowledge_soon()

    def flush(self, *, foreign: bool = False) -> None:
        """See ChangeSink."""
        self._is_complete = False
        self._acknowledged = None  # the numbers may begin anew
        self._sink.flush(foreign=foreign)
        if foreign and self._feed.link is not None:
            self._withdraw(self._feed.link, self._instance, _ignore)

    def trust(self, until: float) -> None:
        """See ChangeSink."""
        self._sink.trust(until)
        self._trusted_until = until
        self._is_complete = self._is_trusted
        if self._is_complete:
            self._vouched_for = self._feed.link
        if self._due is None and self._is_complete and self._feed.seq != self._acknowledged:
            self._acknowledge_soon()

    # the feed's link

    def announce(self, link: Link) -> None:
        """Say that this sidecar lives. Before each PING."""
        if self._feed.is_foreign:
            return
        self._say(link)
        now = self._clock.wall_ms()
        if link is not self._known_to:
            self._known_to = link
            link.send(_ignore, "ZREMRANGEBYSCORE", schema.SIDECARS, "-inf", str(now - KEPT_MS))
        link.send(_ignore, "ZADD", schema.SIDECARS, str(now), self._instance)

    async def leave(self) -> None:
        """Take back what was said: this sidecar answers nobody any more. Waits a moment at most."""
        link = self._feed.link
        if link is None:
            return
        gone: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._withdraw(link, self._instance, gone.set_result)
        await asyncio.wait([gone], timeout=LEAVE_SECONDS)

    def _withdraw(self, link: Link, instance: str, on_reply: Callable[[Any], None]) -> None:
        link.send(_ignore, "ZREM", schema.SIDECARS, instance)
        link.send(on_reply, "DEL", schema.sidecar(instance))

    @property
    def _is_trusted(self) -> bool:
        return self._clock.monotonic() < self._trusted_until

    def _acknowledge_soon(self) -> None:
        # Not now: the feed moves its position after it has told its sink.
        wait = self._spoke_at + PAUSE - self._clock.monotonic()
        self._due = asyncio.get_running_loop().call_later(max(0.0, wait), self._acknowledge)

    def _acknowledge(self) -> None:
        self._due = None
        link, seq = self._feed.link, self._feed.seq
        if link is None or not (self._is_complete and self._is_trusted):
            return
        self._acknowledged = seq
        self._spoke_at = self._clock.monotonic()
        self._say(link)
        if self._predecessor:
            self._withdraw(link, self._predecessor, _ignore)
            self._predecessor = ""

    def _say(self, link: Link) -> None:
        said = Sidecar(
            **self._identity,
            applied=self._acknowledged if link is self._vouched_for else None,
            trusted=self._is_trusted,
            reason=self._feed.reason,
            entries=self._entries(),
        )
        link.send(self._on_said, "SET", self._name, json.dumps(asdict(said)), "PX", str(KEPT_MS))

    def _on_said(self, reply: Any) -> None:
        trouble = refusal(reply) if isinstance(reply, Exception) else ""
        if trouble != self._refusal and not isinstance(reply, Unavailable):
            self._refusal = trouble
            if trouble:
                log.warning("the store does not let this sidecar register: %s", trouble)


class Sidecars:
    """A SidecarDirectory over redis-py."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client

    async def find(self) -> tuple[int, list[Heard]]:
        """See SidecarDirectory."""
        try:
            client: Any = self._client
            instances = await client.zrange(schema.SIDECARS, 0, -1)
            pipeline = client.pipeline(transaction=False)
            pipeline.get(schema.SEQ)
            for instance in instances:
                pipeline.get(schema.sidecar(instance))
                pipeline.pttl(schema.sidecar(instance))
            seq, *said = await pipeline.execute()
            found = [_heard(*pair) for pair in zip(said[::2], said[1::2], strict=True)]
            return schema.number(schema.SEQ, seq or "0"), sorted(filter(None, found), key=_by_name)
        except (exceptions.RedisError, OSError, ValueError) as cause:  # ValueError: a garbled seq
            raise Unavailable(f"the store cannot be used: {cause}") from None


def _heard(said: str | None, left_ms: int) -> Heard | None:
    """None for what is not there, and for what this version does not understand."""
    try:
        found = json.loads(said or "")
        sidecar = Sidecar(**{name: _checked(found[name], kind) for name, kind in _KINDS.items()})
    except (ValueError, TypeError, KeyError):
        return None
    return Heard(sidecar, max(0, KEPT_MS - left_ms))


def _checked(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind) or (isinstance(value, str) and not value.isprintable()):
        raise TypeError("not what a sidecar says of itself")
    return value


_KINDS: Final = get_type_hints(Sidecar)


def _by_name(heard: Heard) -> str:
    return heard.sidecar.instance


def _ignore(_reply: Any) -> None:
    pass
