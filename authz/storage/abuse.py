"""Blocked clients in the store: sidecars publish theirs and read those of the fleet."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType
from typing import Any, Final

import hiredis
import redis.asyncio

from authz.core.abuse import AbuseState, FailureBuckets
from authz.core.failure_budget import MAX_CLIENTS
from authz.core.ports import Clock
from authz.storage import schema
from authz.storage.link import Link
from authz.storage.refusals import refusal
from authz.storage.replies import checked

PAUSE: Final = 1.0  # seconds between two rounds of a sidecar
MOST: Final = 100  # clients that one sidecar publishes in a round
PIECE: Final = 100  # clients that are read at once; about 60 us
SWEEP: Final = 10.0  # seconds between two looks for clients whose block has ended
REFUSED: Final = 10.0  # seconds until a refused HSCAN is sent again
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


@dataclass
class _Reading:
    """The pieces of the fleet's state that have come so far. version: the one before the first."""

    version: object
    allowed: Any = None
    stored: dict[str, str] = field(default_factory=dict)
    live: dict[str, int] = field(default_factory=dict)


class AbuseLink:
    """Publishes the blocked clients of a sidecar, and reads those of the fleet, every PAUSE (1 s).

    Without the store a sidecar goes by its own failures, and by what it read last. It adds nothing
    while the store has MAX_CLIENTS (10,000) clients. It reads only if others changed something, in
    pieces of about PIECE (100) clients: to read 5,000 at once stops all Checks for 3 ms.

    If the store refuses HSCAN, as with users of an earlier build, it reads only the allowed
    networks. It logs the remedy once, and tries HSCAN again after REFUSED (10 s).
    """

    def __init__(self, buckets: FailureBuckets, names: schema.Names, clock: Clock) -> None:
        self._buckets = buckets
        self._names = names
        self._clock = clock
        self._due = self._sweep = float("-inf")
        self._version: object = None
        self._link: Link | None = None
        self._reading: _Reading | None = None
        self._stored: dict[str, str] = {}  # as it was read last
        self._live: dict[str, int] = {}  # the clients in it that were blocked then
        self._problem = ""
        self._refusal = ""  # of HSCAN, until it succeeds
        self._scan_again: float | None = None  # when a refused HSCAN is due again

    def send(self, link: Link) -> None:
        """Send what is due, and return at once. To be called before each heartbeat."""
        now = self._clock.monotonic()
        if link is not self._link:
            self._link, self._version, self._due = link, None, float("-inf")
            self._reading = self._scan_again = None
        if self._scan_again is not None and now >= self._scan_again:
            self._version = self._scan_again = None
        if now < self._due or self._reading is not None:
            return
        self._due = now + PAUSE
        self._publish(link, now)
        link.send(lambda reply: self._on_version(link, reply), "GET", self._names.abuse_version)

    def _publish(self, link: Link, now: float) -> None:
        found = self._buckets.unpublished(MOST)
        if not found:
            return
        if not self._has_room(link, now):
            self._buckets.put_back(found)
            return
        texts = {client: str(until) for client, until in found.items()}
        is_stored = True

        def on_stored(reply: Any) -> None:
            nonlocal is_stored
            if isinstance(reply, Exception):
                is_stored = False
                self._buckets.put_back(found)

        def on_counted(reply: Any) -> None:
            # If nobody else has changed anything, we know the state without reading it.
            if is_stored and isinstance(reply, int) and self._version == str(reply - 1):
                self._version = str(reply)
                self._stored |= texts
                self._live |= found

        pairs = [text for pair in texts.items() for text in pair]
        link.send(on_stored, "HSET", self._names.blocked, *pairs)
        link.send(on_counted, "INCR", self._names.abuse_version)

    def _has_room(self, link: Link, now: float) -> bool:
        """Return whether the store has room for another client.

        Every SWEEP (10 s), or if there is none, forget the clients that are not blocked any more,
        and remove them from the store.
        """
        if now < self._sweep and len(self._stored) < MAX_CLIENTS:
            return True
        self._sweep = now + SWEEP
        wall = self._clock.wall_ms()
        self._buckets.forget_ended(wall)
        self._live = live = blocked_of(self._stored, wall, self._live, self._stored)
        over = [client for client in self._stored if client not in live]
        if over:
            # The link takes no surrogates, and a text of the store may have some.
            names = (client.encode("utf-8", "surrogateescape") for client in over)
            link.send(_ignore, "HDEL", self._names.blocked, *names)
            self._stored = {client: self._stored[client] for client in live}
        return len(live) < MAX_CLIENTS

    def _on_version(self, link: Link, reply: Any) -> None:
        if isinstance(reply, Exception) or reply == self._version or link is not self._link:
            return
        self._reading = reading = _Reading(reply)
        scans = self._scan_again is None

        def on_allowed(allowed: Any) -> None:
            reading.allowed = allowed
            if not scans and reading is self._reading:
                self._finish_allowed(reading)

        link.send(on_allowed, "HGETALL", self._names.allowed)
        if scans:
            self._read_on(link, reading, "0")

    def _read_on(self, link: Link, reading: _Reading, cursor: str) -> None:
        def on_piece(reply: Any) -> None:
            if reading is not self._reading:
                return
            match reply:
                case [str(following), [*texts]]:
                    self._take(reading, dict(zip(texts[::2], texts[1::2], strict=False)))
                case hiredis.ReplyError():
                    self._note_refusal(refusal(reply))
                    self._finish_allowed(reading)
                    return
                case _:  # a fault: the next look begins again
                    self._reading = None
                    return
            if following == "0":
                self._refusal = ""
                self._finish(reading)
            else:
                self._read_on(link, reading, following)

        link.send(on_piece, "HSCAN", self._names.blocked, cursor, "COUNT", str(PIECE))

    def _take(self, reading: _Reading, piece: dict[str, str]) -> None:
        reading.stored |= piece
        live = blocked_of(piece, self._clock.wall_ms(), self._live, self._stored)
        room = MAX_CLIENTS - len(reading.live)
        reading.live |= live if len(live) <= room else dict(islice(live.items(), room))

    def _note_refusal(self, problem: str) -> None:
        if problem != self._refusal:
            log.warning("the clients that other sidecars block cannot be read: %s", problem)
        self._refusal = problem
        self._scan_again = self._clock.monotonic() + REFUSED

    def _finish_allowed(self, reading: _Reading) -> None:
        """Take the allowed networks, and keep the blocked clients that are known."""
        reading.stored, reading.live = self._stored, self._live
        self._finish(reading)

    def _finish(self, reading: _Reading) -> None:
        self._reading = None
        if not isinstance(reading.allowed, dict):
            return
        self._version = reading.version
        self._stored, self._live = reading.stored, reading.live
        problem = self._buckets.replace_fleet(self._live, reading.allowed)
        if problem and problem != self._problem:
            log.warning("not all allowed networks can be taken: %s", problem)
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
