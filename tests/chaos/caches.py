"""The subject under test: the data path of a sidecar."""

import asyncio
import os
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from authz.core.keys.credentials import Presented
from authz.core.ports import Clock, Probe
from authz.core.store_clock import StoreClock
from authz.core.tokens import text as tokens
from authz.core.tokens.presented import AcceptedToken
from authz.core.tokens.rights import Expected
from authz.flows.check import Checker
from authz.flows.keycache import KeyCache
from authz.flows.partitioned.check import PartitionedChecker
from authz.flows.tokens.gate import TokenGate
from authz.flows.tokens.ports import EntrySource
from authz.identity.es256 import verifier
from authz.storage.endpoint import Endpoint
from authz.storage.feed import ChangeFeed
from authz.storage.linked_keys import LinkedKeys
from authz.storage.registration import Identity, Registration
from authz.wiring.live_settings import LiveSettings
from authz.wiring.partition import checker_of
from tests.chaos.checker import Bounds
from tests.chaos.history import Outcome
from tests.chaos.live_rules import CarelessSettings, LiveRules
from tests.chaos.rules import PATHS
from tests.support.fakes import RecordingProbe, make_keyring
from tests.support.real import RealClock
from tests.support.rpc.messages import check_request
from tests.support.tokens import AUDIENCE, ISSUER, KEY_ID

TTL = 60.0
DEADLINE = 0.5  # of a lookup: the machine is busy with many processes


@dataclass(frozen=True, slots=True)
class Asked:
    """A key or a token as the load asks for it.

    token: what it says; None for a key. requests: a serialised CheckRequest for each of PATHS.
    """

    kid: str
    presented: Presented | None
    token: AcceptedToken | None
    requests: tuple[bytes, ...]

    @classmethod
    def of(cls, text: str) -> "Asked":
        """Return the requests with this key or token."""
        requests = (check_request([("x-api-key", text)], path=path) for path in PATHS)
        raw = tuple(request.SerializeToString() for request in requests)
        presented = make_keyring().parse(text)
        if presented is not None:
            return cls(presented.kid, presented, None, raw)
        parts = tokens.split(text)
        found = parts and tokens.parse_claims(parts.claims)
        assert found
        token = AcceptedToken(found.token_id, found.kid, found.secret_id, found.scopes, 0, KEY_ID)
        return cls(found.kid, None, token, raw)


def token_gate(source: EntrySource, clock: Clock, probe: Probe) -> TokenGate:
    """Return the acceptance of tokens, as the sidecar composes it."""
    ring = make_keyring(issuer=ISSUER)
    return TokenGate(
        source,
        ring.signing_entries,
        verifier,
        tags=ring.token_tags,
        expected=Expected(ISSUER, (AUDIENCE,)),
        clock=clock,
        probe=probe,
        rate=100_000,
        max_entries=100_000,
    )


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


@dataclass(frozen=True, slots=True)
class Part:
    """The data path of one partition."""

    feed: ChangeFeed
    cache: KeyCache
    checker: Checker
    registration: Registration


class Leased:
    """The product's data path, from the CheckRequest to the CheckResponse."""

    has_two_clocks = True
    settings_type: type[LiveSettings] | type[CarelessSettings] = LiveSettings
    registers = True  # a mutant does not: only the sidecars under test confirm
    checker_type = Checker
    source_type = LinkedKeys
    ttl = TTL

    def __init__(self, endpoint: Endpoint, bounds: Bounds, grace: float, file: Path) -> None:
        self.clock = clock = MovedClock()
        probe, stores = RecordingProbe(), endpoint.partitions()
        clocks = [StoreClock(bounds.lease) for _ in stores]
        feeds = [
            ChangeFeed(
                where,
                clock,
                probe,
                lease=bounds.lease,
                fingerprints=make_keyring().fingerprints,
                store_clock=store_clock,
            )
            for where, store_clock in zip(stores, clocks, strict=True)
        ]
        gate = token_gate(feeds[0].meta, clock, probe)
        identity = Identity(
            instance=f"chaos-{os.getpid()}",
            version="chaos",
            address="",
            started_at=clock.wall_ms(),
            lease_ms=round((bounds.lease + bounds.isolation) * 1000),
            grace_ms=round(grace * 1000),
        )
        self.parts = []
        for feed, store_clock in zip(feeds, clocks, strict=True):
            cache = KeyCache(
                self.source_type(feed, probe),
                clock,
                probe,
                ttl=self.ttl,
                negative_ttl=5,
                max_entries=100_000,
                max_negatives=1000,
                deadline=DEADLINE,
                grace=grace,
            )
            seen = store_clock if self.has_two_clocks else None
            checker = self.checker_type(
                cache, feed.meta, clock, probe, store_clock=seen, tokens=gate
            )
            entry = Registration(cache, feed, clock, identity, entries=cache.__len__)
            self.parts.append(Part(feed, cache, checker, entry))
        self._rules = LiveRules(self.decider(clock, grace), clock, probe, file, self.settings_type)

    def decider(self, clock: Clock, grace: float) -> Checker | PartitionedChecker:
        """Return what decides: the checker, or that of all partitions."""
        return checker_of(self.parts, clock, grace)

    async def run(self) -> None:
        """Implement Subject.run."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._rules.run())
            for part in self.parts:
                entry = part.registration
                follow = part.feed.run(entry, entry.announce) if self.registers else self.fed(part)
                group.create_task(follow)

    def fed(self, part: Part) -> Coroutine[None, None, None]:
        """Return the work of a feed that writes nothing into the store."""
        return part.feed.run(part.cache)

    async def answer(self, asked: Asked, path: int) -> Outcome:
        """Implement Subject.answer."""
        return await self._rules.answer(asked.requests[path])
