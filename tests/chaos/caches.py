"""The subjects: the sidecar's data path, and mutants with plausible mistakes."""

import asyncio
import contextlib
import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import redis.asyncio

from authz.core.errors import Unavailable
from authz.core.records import KeyRecord, Status
from authz.core.store_clock import StoreClock
from authz.flows.check import Checker
from authz.flows.keycache import KeyCache
from authz.storage import encoding
from authz.storage.endpoint import Endpoint
from authz.storage.feed import ChangeFeed
from authz.storage.linked_keys import LinkedKeys
from authz.storage.registration import Identity, Registration
from authz.wiring.live_settings import LiveSettings
from tests.chaos.checker import Bounds
from tests.chaos.history import Outcome, now
from tests.chaos.live_rules import CarelessSettings, LiveRules
from tests.chaos.rules import PATHS
from tests.support.fakes import RecordingProbe, make_keyring
from tests.support.real import RealClock
from tests.support.rpc.messages import check_request
from tests.support.storage import stored

TTL = 60.0
DEADLINE = 0.5  # of a lookup: the machine is busy with many processes


@dataclass(frozen=True, slots=True)
class Asked:
    """A key as the load asks for it. requests: a serialised CheckRequest for each of PATHS."""

    kid: str
    requests: tuple[bytes, ...]

    @classmethod
    def of(cls, text: str) -> "Asked":
        """Return the requests with this key."""
        requests = (check_request([("x-api-key", text)], path=path) for path in PATHS)
        kid = make_keyring().parse(text).kid
        return cls(kid, tuple(request.SerializeToString() for request in requests))


class Subject(Protocol):
    """A cache that decides about keys."""

    async def run(self) -> None:
        """Follow the store until cancelled."""

    async def answer(self, asked: Asked, path: int) -> Outcome:
        """Decide about one key. path: its number in PATHS; some have no rules for it."""


class MovedClock(RealClock):
    """The real time, with a wall clock that a fault moves. offset: milliseconds."""

    def __init__(self) -> None:
        self.offset = 0

    def wall_ms(self) -> int:
        """Implement Clock.wall_ms."""
        return super().wall_ms() + self.offset


class Leased:
    """The product's data path, from the CheckRequest to the CheckResponse."""

    has_two_clocks = True
    settings_type: type[LiveSettings] | type[CarelessSettings] = LiveSettings
    registers = True  # a mutant does not: only the sidecars under test confirm

    def __init__(self, endpoint: Endpoint, bounds: Bounds, grace: float, file: Path) -> None:
        self.clock = clock = MovedClock()
        probe, store_clock = RecordingProbe(), StoreClock(bounds.lease)
        fingerprints = make_keyring().fingerprints
        self.feed = ChangeFeed(
            endpoint,
            clock,
            probe,
            lease=bounds.lease,
            fingerprints=fingerprints,
            store_clock=store_clock,
        )
        self.cache = KeyCache(
            LinkedKeys(self.feed, probe),
            clock,
            probe,
            ttl=TTL,
            negative_ttl=5,
            max_entries=100_000,
            max_negatives=1000,
            deadline=DEADLINE,
            grace=grace,
        )
        seen = store_clock if self.has_two_clocks else None
        checker = Checker(self.cache, self.feed.meta, clock, probe, store_clock=seen)
        self._rules = LiveRules(checker, clock, probe, file, self.settings_type)
        identity = Identity(
            instance=f"chaos-{os.getpid()}",
            version="chaos",
            address="",
            started_at=clock.wall_ms(),
            lease_ms=round((bounds.lease + bounds.isolation) * 1000),
            grace_ms=round(grace * 1000),
        )
        self._registration = Registration(
            self.cache, self.feed, clock, identity, entries=self.cache.__len__
        )

    async def run(self) -> None:
        """Implement Subject.run."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._rules.run())
            if self.registers:
                await self.feed.run(self._registration, self._registration.announce)
            else:
                await self.feed.run(self.cache)

    async def answer(self, asked: Asked, path: int) -> Outcome:
        """Implement Subject.answer."""
        return await self._rules.answer(asked.requests[path])


class OneClock(Leased):
    """The mutant that decides by its own clock alone."""

    has_two_clocks = False
    registers = False


class CarelessReload(Leased):
    """The mutant that takes every settings file as it is."""

    settings_type = CarelessSettings
    registers = False


class _Dict:
    """Records with their expiry, and a separate client to read them."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.entries: dict[str, tuple[KeyRecord | None, float]] = {}
        self.client = endpoint.client(timeout=0.3)

    async def look_up(self, kid: str) -> Outcome:
        entry = self.entries.get(kid)
        if entry is None or entry[1] < now():
            try:
                found = await self.client.hgetall(stored.key(kid))
                record = encoding.decode(kid, found) if found else None
            except (redis.RedisError, OSError, Unavailable):
                return Outcome.UNAVAILABLE
            await asyncio.sleep(random.choice((0, 0, 0.001)))  # whoever waits wakes later
            entry = (record, now() + TTL)
            self.entries[kid] = entry
        if entry[0] is None:
            return Outcome.UNKNOWN
        return {
            Status.ACTIVE: Outcome.ALLOW,
            Status.DISABLED: Outcome.DISABLED,
            Status.REVOKED: Outcome.REVOKED,
        }[entry[0].status]


class GetThenSet:
    """A mutant: it is fed and trusted like the product, but stores a record after a pause."""

    def __init__(self, endpoint: Endpoint, bounds: Bounds, _grace: float, _file: Path) -> None:
        self._dict = _Dict(endpoint)
        self._trusted_until = 0.0
        fingerprints = make_keyring().fingerprints
        self._feed = ChangeFeed(
            endpoint, RealClock(), RecordingProbe(), lease=bounds.lease, fingerprints=fingerprints
        )

    async def run(self) -> None:
        """Implement Subject.run."""
        await self._feed.run(self)

    async def answer(self, asked: Asked, path: int) -> Outcome:
        """Implement Subject.answer."""
        if now() >= self._trusted_until:
            return Outcome.UNAVAILABLE
        return await self._dict.look_up(asked.kid)

    def forget(self, kid: str, *, revoked: bool) -> None:
        """Implement ChangeSink.forget."""
        self._dict.entries.pop(kid, None)

    def flush(self, *, foreign: bool = False) -> None:
        """Implement ChangeSink.flush."""
        self._dict.entries.clear()

    def trust(self, until: float) -> None:
        """Implement ChangeSink.trust."""
        self._trusted_until = until


class PubSub:
    """A mutant: redis-py's PubSub and a TTL, the common design."""

    def __init__(self, endpoint: Endpoint, _bounds: Bounds, _grace: float, _file: Path) -> None:
        self._dict = _Dict(endpoint)
        self._subscriber = redis.asyncio.Redis(
            host=endpoint.host, port=endpoint.port, decode_responses=True, health_check_interval=1
        )

    async def run(self) -> None:
        """Implement Subject.run."""
        subscription = self._subscriber.pubsub()
        while True:
            with contextlib.suppress(redis.RedisError, OSError):
                await subscription.subscribe(stored.CHANGES)
                while True:
                    message = await subscription.get_message(timeout=0.2)
                    if message is not None and message["type"] == "message":
                        for kid in message["data"].split(" ")[1:2]:
                            self._dict.entries.pop(kid, None)
            await asyncio.sleep(0.1)

    async def answer(self, asked: Asked, path: int) -> Outcome:
        """Implement Subject.answer."""
        return await self._dict.look_up(asked.kid)


MUTANTS = {
    "get-then-set": GetThenSet,
    "pub-sub": PubSub,
    "one clock": OneClock,
    "careless reload": CarelessReload,
}
SUBJECTS = {"leased": Leased} | MUTANTS
RELOADING = {kind for kind, subject in SUBJECTS.items() if issubclass(subject, Leased)}
