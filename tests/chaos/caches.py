"""The subjects: the sidecar's data path, and mutants with plausible mistakes."""

import asyncio
import contextlib
import os
import random
from typing import Protocol

import redis.asyncio

from authz.core.decision import Allow, Decision, Deny, Reason
from authz.core.errors import Unavailable
from authz.core.keys.credentials import Presented
from authz.core.records import KeyRecord, Status
from authz.core.store_clock import StoreClock
from authz.flows.check import Checker
from authz.flows.keycache import KeyCache
from authz.storage import encoding
from authz.storage.endpoint import Endpoint
from authz.storage.feed import ChangeFeed
from authz.storage.linked_keys import LinkedKeys
from authz.storage.registration import Identity, Registration
from tests.chaos.checker import Bounds
from tests.chaos.history import Outcome, now
from tests.support.fakes import RecordingProbe, make_keyring, make_request
from tests.support.real import RealClock
from tests.support.storage import stored

TTL = 60.0
DEADLINE = 0.5  # of a lookup: the machine is busy with many processes
OUTCOMES = {
    Reason.REVOKED: Outcome.REVOKED,
    Reason.DISABLED: Outcome.DISABLED,
    Reason.UNKNOWN_KEY: Outcome.UNKNOWN,
    Reason.UNAVAILABLE: Outcome.UNAVAILABLE,
}


class Subject(Protocol):
    """A cache that decides about keys."""

    async def run(self) -> None:
        """Follow the store until cancelled."""

    async def answer(self, presented: Presented) -> Outcome:
        """Decide about one key."""


class MovedClock(RealClock):
    """The real time, with a wall clock that a fault moves. offset: milliseconds."""

    def __init__(self) -> None:
        self.offset = 0

    def wall_ms(self) -> int:
        """Implement Clock.wall_ms."""
        return super().wall_ms() + self.offset


class Leased:
    """The product's data path."""

    has_two_clocks = True

    def __init__(self, endpoint: Endpoint, bounds: Bounds, grace: float) -> None:
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
        self._checker = Checker(self.cache, self.feed.meta, clock, probe, store_clock=seen)
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
        await self.feed.run(self._registration, self._registration.announce)

    async def answer(self, presented: Presented) -> Outcome:
        """Implement Subject.answer."""
        decision = self._checker.check(make_request(credential=presented))
        return _outcome(decision if isinstance(decision, Allow | Deny) else await decision)


class OneClock(Leased):
    """The mutant that decides by its own clock alone."""

    has_two_clocks = False

    async def run(self) -> None:
        """Implement Subject.run. It does not register: only the sidecars under test confirm."""
        await self.feed.run(self.cache)


def _outcome(decision: Decision) -> Outcome:
    if isinstance(decision, Allow):
        return Outcome.STALE_ALLOW if decision.stale else Outcome.ALLOW
    if decision.reason is Reason.DISABLED and decision.stale:
        return Outcome.STALE_DISABLED
    return OUTCOMES.get(decision.reason, Outcome.OTHER)


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

    def __init__(self, endpoint: Endpoint, bounds: Bounds, _grace: float) -> None:
        self._dict = _Dict(endpoint)
        self._trusted_until = 0.0
        fingerprints = make_keyring().fingerprints
        self._feed = ChangeFeed(
            endpoint, RealClock(), RecordingProbe(), lease=bounds.lease, fingerprints=fingerprints
        )

    async def run(self) -> None:
        """Implement Subject.run."""
        await self._feed.run(self)

    async def answer(self, presented: Presented) -> Outcome:
        """Implement Subject.answer."""
        if now() >= self._trusted_until:
            return Outcome.UNAVAILABLE
        return await self._dict.look_up(presented.kid)

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

    def __init__(self, endpoint: Endpoint, _bounds: Bounds, _grace: float) -> None:
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

    async def answer(self, presented: Presented) -> Outcome:
        """Implement Subject.answer."""
        return await self._dict.look_up(presented.kid)


MUTANTS = {"get-then-set": GetThenSet, "pub-sub": PubSub, "one clock": OneClock}
SUBJECTS = {"leased": Leased} | MUTANTS
