"""Blocked clients in the store: sidecars publish theirs and read those of the fleet."""

import logging
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import redis.asyncio

from authz.core.abuse import AbuseState, FailureBuckets
from authz.core.errors import BadInput
from authz.core.failure_budget import MAX_CLIENTS
from authz.core.ports import Clock
from authz.storage import schema
from authz.storage.link import Link
from authz.storage.replies import checked

PAUSE: Final = 1.0  # seconds between two rounds of a sidecar
MOST: Final = 100  # clients that one sidecar publishes in a round
FARTHEST_MS: Final = 2 * 86_400_000  # of an end from now: `abuse.block` is at most a day
_DIGITS: Final = 15
_CLIENT: Final = re.compile(r"[0-9a-f.:]{2,39}(?:/64)?", re.ASCII)

log = logging.getLogger("authz.store")


_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


def blocked_of(
    found: Mapping[str, str],
    now: int,
    known: Mapping[str, int] = _NOTHING,
    read: Mapping[str, str] = _NOTHING,
) -> dict[str, int]:
    """Return the clients that are blocked at `now` (ms since the epoch), with the end in ms.

    Left out are texts that no sidecar writes, ends above FARTHEST_MS (2 days) from now, and clients
    beyond MAX_CLIENTS (10,000). known: the result for `read`, which was found before. Entries that
    are the same are not checked again: 10,000 of them would take 10 ms in each second of an attack.
    """
    blocked: dict[str, int] = {}
    for client, text in found.items():
        end = known.get(client) if read.get(client) == text else None
        if end is None:
            end = _end_of(client, text, now)
        if end is None or end <= now:
            continue
        if len(blocked) == MAX_CLIENTS:
            break
        blocked[client] = end
    return blocked


def _end_of(client: str, text: str, now: int) -> int | None:
    """Return the end in an entry; None if no sidecar writes such a one."""
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS):
        return None
    end = int(text)
    return end if end <= now + FARTHEST_MS and _CLIENT.fullmatch(client) else None


class AbuseLink:
    """Publishes the blocked clients of a sidecar, and reads those of the fleet, every PAUSE (1 s).

    Without the store a sidecar goes by its own failures, and by what it read last. It adds nothing
    while the store has MAX_CLIENTS (10,000) clients.
    """

    def __init__(self, buckets: FailureBuckets, names: schema.Names, clock: Clock) -> None:
        self._buckets = buckets
        self._names = names
        self._clock = clock
        self._due = float("-inf")
        self._version: object = None
        self._link: Link | None = None
        self._stored: dict[str, str] = {}  # as it was read last
        self._live: dict[str, int] = {}  # the clients in it that were blocked then
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
        if not self._has_room(link):
            self._buckets.put_back(found)
            return

        def on_reply(reply: Any) -> None:
            if isinstance(reply, Exception):
                self._buckets.put_back(found)

        pairs = [text for client, until in found.items() for text in (client, str(until))]
        link.send(on_reply, "HSET", self._names.blocked, *pairs)
        link.send(_ignore, "INCR", self._names.abuse_version)

    def _has_room(self, link: Link) -> bool:
        """Remove clients that are not blocked any more. Return whether the store has room then."""
        now = self._clock.wall_ms()
        self._live = live = blocked_of(self._stored, now, self._live, self._stored)
        over = [client for client in self._stored if client not in live]
        if over:
            # The link takes no surrogates, and a text of the store may have some.
            names = (client.encode("utf-8", "surrogateescape") for client in over)
            link.send(_ignore, "HDEL", self._names.blocked, *names)
            self._stored = {client: self._stored[client] for client in live}
        return len(live) < MAX_CLIENTS

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
        now = self._clock.wall_ms()
        self._live = blocked_of(blocked, now, self._live, self._stored)
        self._stored = blocked
        try:
            self._buckets.replace_fleet(self._live, allowed)
            problem = ""
        except BadInput as cause:
            problem = str(cause)
        if problem and problem != self._problem:
            log.warning("the allowed networks cannot be read: %s", problem)
        self._problem = problem


class StoredAbuse:
    """An AbuseStore over redis-py."""

    def __init__(self, client: redis.asyncio.Redis, clock: Clock) -> None:
        self._client = client
        self._names = schema.names_of(client)
        self._clock = clock

    async def read(self) -> AbuseState:
        """Implement AbuseStore.read."""
        found = await checked(self._client.hgetall(self._names.blocked))
        allowed = await checked(self._client.hgetall(self._names.allowed))
        return AbuseState(blocked_of(found, self._clock.wall_ms()), allowed)

    async def unblock(self, clients: Sequence[str]) -> None:
        """Implement AbuseStore.unblock."""
        await self._change(self._client.hdel(self._names.blocked, *clients))

    async def allow(self, network: str, by: str | None) -> None:
        """Implement AbuseStore.allow."""
        if by is None:
            await self._change(self._client.hdel(self._names.allowed, network))
        else:
            mapping: dict[Any, Any] = {network: by}
            await self._change(self._client.hset(self._names.allowed, mapping=mapping))

    async def _change(self, work: Any) -> None:
        await checked(work)
        await checked(self._client.incr(self._names.abuse_version))


def _ignore(_reply: Any) -> None:
    pass
