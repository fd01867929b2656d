"""The subject under test: the data path of a sidecar."""

import os
from typing import Protocol

from authz.core.decision import Allow, Decision, Deny, Reason
from authz.core.keys.credentials import Presented
from authz.core.request import Route
from authz.core.store_clock import StoreClock
from authz.core.tokens.presented import PresentedToken
from authz.core.tokens.rights import Expected
from authz.flows.check import Checker
from authz.flows.keycache import KeyCache
from authz.flows.tokens.gate import TokenGate
from authz.flows.tokens.ports import EntrySource
from authz.identity.es256 import verifier
from authz.storage.endpoint import Endpoint
from authz.storage.feed import ChangeFeed
from authz.storage.linked_keys import LinkedKeys
from authz.storage.registration import Identity, Registration
from tests.chaos.checker import Bounds
from tests.chaos.history import Outcome
from tests.support.fakes import RecordingProbe, make_keyring, make_request
from tests.support.real import RealClock
from tests.support.tokens import AUDIENCE, ISSUER

TTL = 60.0
DEADLINE = 0.5  # of a lookup: the machine is busy with many processes
SCOPE = "a:read"  # that the requests need
OUTCOMES = {
    Reason.REVOKED: Outcome.REVOKED,
    Reason.DISABLED: Outcome.DISABLED,
    Reason.INSUFFICIENT_SCOPE: Outcome.NARROWED,
    Reason.SECRET_RETIRED: Outcome.ROTATED,
    Reason.UNKNOWN_KEY: Outcome.UNKNOWN,
    Reason.FORGED: Outcome.UNKNOWN,  # a token whose signing key is not in the store
    Reason.UNAVAILABLE: Outcome.UNAVAILABLE,
    # A token has its times by the sidecar's clock, which a fault moves.
    Reason.TOKEN_EXPIRED: Outcome.UNAVAILABLE,
    Reason.NOT_YET_VALID: Outcome.UNAVAILABLE,
}
STALE_OUTCOMES = {
    Outcome.ALLOW: Outcome.STALE_ALLOW,
    Outcome.DISABLED: Outcome.STALE_DISABLED,
    Outcome.NARROWED: Outcome.STALE_NARROWED,
    Outcome.ROTATED: Outcome.STALE_ROTATED,
}


class Subject(Protocol):
    """A cache that decides about keys."""

    async def run(self) -> None:
        """Follow the store until cancelled."""

    async def answer(self, presented: Presented | PresentedToken) -> Outcome:
        """Decide about one key or token."""


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
    route = Route(frozenset({SCOPE}))

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
        self.gate = gate(self.feed.meta, clock, probe)
        self._checker = Checker(
            self.cache, self.feed.meta, clock, probe, store_clock=seen, tokens=self.gate
        )
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

    async def answer(self, presented: Presented | PresentedToken) -> Outcome:
        """Implement Subject.answer."""
        request = make_request(credential=presented, route=self.route)
        decision = self._checker.check(request)
        return outcome_of(decision if isinstance(decision, Allow | Deny) else await decision)


def gate(source: EntrySource, clock: RealClock, probe: RecordingProbe) -> TokenGate:
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


def outcome_of(decision: Decision) -> Outcome:
    """Return the outcome of a decision. OTHER for a reason that no fault explains."""
    if isinstance(decision, Allow):
        return Outcome.STALE_ALLOW if decision.stale else Outcome.ALLOW
    found = OUTCOMES.get(decision.reason, Outcome.OTHER)
    return STALE_OUTCOMES.get(found, found) if decision.stale else found
