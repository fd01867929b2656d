"""Blocked clients in the store: sidecars publish theirs and read those of the fleet."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

import redis.asyncio

from authz.core.abuse import MAX_ALLOWED, AbuseState, FailureBuckets, network_of
from authz.core.errors import BadInput
from authz.core.failure_budget import MAX_CLIENTS
from authz.core.ports import Clock
from authz.storage import schema
from authz.storage.link import Link
from authz.storage.replies import checked

PAUSE: Final = 1.0  # seconds between two rounds of a sidecar
MOST: Final = 100  # clients that one sidecar publishes in a round
_DIGITS: Final = 15

log = logging.getLogger("authz.store")


def blocked_of(found: Mapping[str, str], now: int) -> dict[str, int]:
    """Return the clients that are blocked at `now` (ms since the epoch), with the end in ms.

    Texts that no sidecar writes are left out, and so are clients beyond MAX_CLIENTS (10,000).
    """
    blocked: dict[str, int] = {}
    for client, text in found.items():
        if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS) or int(text) <= now:
            continue
        if len(blocked) == MAX_CLIENTS:
            break
        blocked[client] = int(text)
    return blocked


class AbuseLink:
    """Publishes the blocked clients of a sidecar, and reads those of the fleet, every PAUSE (1 s).

    Without the store a sidecar goes by its own failures, and by what it read last.
    """

    def __init__(self, buckets: FailureBuckets, names: schema.Names, clock: Clock) -> None:
        self._buckets = buckets
        self._names = names
        self._clock = clock
        self._due = float("-inf")
        self._version: object = None
        self._link: Link | None = None
        self._blocked: dict[str, int] = {}
        self._problem = ""

    def send(self, link: Link) -> None:
        """Send what is due, and return at once. To be called before each heartbeat."""
        now = self._clock.monotonic()
        if link is not self._link:
            self._link, self._version, self._due = link, None, float("-inf")
        if now < self._due:
            return
        self._due = now + PAUSE
        self._publish(link)
        link.send(lambda reply: self._on_version(link, reply), "GET", self._names.abuse_version)

    def _publish(self, link: Link) -> None:
        found = self._buckets.unpublished(MOST)
        if not found:
            return

        def on_reply(reply: Any) -> None:
            if isinstance(reply, Exception):
                self._buckets.put_back(found)

        now, names = self._clock.wall_ms(), self._names
        over = [client for client, until in self._blocked.items() if until <= now]
        if over:
            link.send(_ignore, "HDEL", names.blocked, *over)
        pairs = [text for client, until in found.items() for text in (client, str(until))]
        link.send(on_reply, "HSET", names.blocked, *pairs)
        link.send(_ignore, "INCR", names.abuse_version)

    def _on_version(self, link: Link, reply: Any) -> None:
        if isinstance(reply, Exception) or reply == self._version:
            return
        found: list[Any] = []

        def on_allowed(allowed: Any) -> None:
            self._on_fleet(reply, found[0], allowed)

        link.send(found.append, "HGETALL", self._names.blocked)
        link.send(on_allowed, "HGETALL", self._names.allowed)

    def _on_fleet(self, version: object, blocked: Any, allowed: Any) -> None:
        if not (isinstance(blocked, dict) and isinstance(allowed, dict)):
            return
        self._version = version
        self._blocked = {client: int(end) for client, end in blocked_of(blocked, 0).items()}
        try:
            self._buckets.replace_fleet(blocked_of(blocked, self._clock.wall_ms()), allowed)
            problem = ""
        except BadInput as cause:
            problem = str(cause)
        if problem and problem != self._problem:
            log.warning("the allowed networks cannot be read: %s", problem)
        self._problem = problem


class StoredAbuse:
    """An AbuseControl over redis-py."""

    def __init__(self, client: redis.asyncio.Redis, clock: Clock) -> None:
        self._client = client
        self._names = schema.names_of(client)
        self._clock = clock

    async def read(self) -> AbuseState:
        """Implement AbuseControl.read."""
        found = await checked(self._client.hgetall(self._names.blocked))
        allowed = await checked(self._client.hgetall(self._names.allowed))
        return AbuseState(blocked_of(found, self._clock.wall_ms()), allowed)

    async def clear(self, clients: Sequence[str]) -> int:
        """Implement AbuseControl.clear."""
        found, wanted = (await self.read()).blocked, frozenset(clients)
        ended = [one for one in found if not wanted or one in wanted]
        if ended:
            await self._change(self._client.hdel(self._names.blocked, *ended))
        return len(ended)

    async def allow(self, network: str, by: str | None) -> bool:
        """Implement AbuseControl.allow."""
        text = str(network_of("network", network))
        known = (await self.read()).allowed
        if by is None:
            return bool(await self._change(self._client.hdel(self._names.allowed, text)))
        if text not in known and len(known) >= MAX_ALLOWED:
            raise BadInput("network", f"at most {MAX_ALLOWED} networks are allowed")
        mapping: dict[Any, Any] = {text: by}
        await self._change(self._client.hset(self._names.allowed, mapping=mapping))
        return text not in known

    async def _change(self, work: Any) -> Any:
        done = await checked(work)
        await checked(self._client.incr(self._names.abuse_version))
        return done


def _ignore(_reply: Any) -> None:
    pass
