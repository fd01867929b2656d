"""Mutants of the subject: data paths with plausible mistakes."""

import asyncio
import contextlib
import random

import redis.asyncio

from authz.core.decision import Allow, Deny
from authz.core.errors import Unavailable
from authz.core.keys.credentials import Presented
from authz.core.policy import judge
from authz.core.records import KeyRecord
from authz.core.request import Route
from authz.core.tokens import text
from authz.core.tokens.presented import AcceptedToken, PresentedToken, SecretById
from authz.storage import encoding
from authz.storage.endpoint import Endpoint
from authz.storage.feed import ChangeFeed
from tests.chaos.caches import TTL, Leased, outcome_of
from tests.chaos.checker import Bounds
from tests.chaos.history import Outcome, now
from tests.support.fakes import RecordingProbe, make_keyring, make_request
from tests.support.real import RealClock
from tests.support.storage import stored
from tests.support.tokens import KEY_ID


class Mutant(Leased):
    """The data path with one mistake."""

    async def run(self) -> None:
        """Implement Subject.run. It does not register: only the sidecars under test confirm."""
        await self.feed.run(self.cache)


class OneClock(Mutant):
    """The mutant that decides by its own clock alone."""

    has_two_clocks = False


class TokenAlone(Mutant):
    """The mutant that accepts a token by its signature and does not look at its key."""

    async def answer(self, presented: Presented | PresentedToken) -> Outcome:
        """Implement Subject.answer."""
        if isinstance(presented, PresentedToken):
            found = self.gate.accept(presented, "203.0.113.7")
            return outcome_of(found) if isinstance(found, Deny) else Outcome.ALLOW
        return await super().answer(presented)


class ScopesOfToken(Mutant):
    """The mutant that judges the scopes of a token and not those of its key."""

    async def answer(self, presented: Presented | PresentedToken) -> Outcome:
        """Implement Subject.answer. Each token has the scope."""
        self.route = Route() if isinstance(presented, PresentedToken) else Leased.route
        return await super().answer(presented)


class AnySecret(Mutant):
    """The mutant for which a token proves the newest secret of its key."""

    def __init__(self, endpoint: Endpoint, bounds: Bounds, grace: float) -> None:
        super().__init__(endpoint, bounds, grace)
        self._checker._accept = self._accept

    def _accept(self, presented: PresentedToken, address: str) -> "NewestSecret | Deny":
        found = self.gate.accept(presented, address)
        return found if isinstance(found, Deny) else NewestSecret(*found)


class NewestSecret(AcceptedToken):
    """A token whose proof is always right."""

    def proof(self, record: KeyRecord) -> SecretById:
        """Return the proof of the newest secret."""
        return SecretById(record.newest_secret.digest)


class _Dict:
    """Records with their expiry, and a separate client to read them."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.entries: dict[str, tuple[KeyRecord | None, float]] = {}
        self.client = endpoint.client(timeout=0.3)

    async def look_up(self, presented: Presented | PresentedToken) -> Outcome:
        token = None
        if isinstance(presented, PresentedToken):
            parts = text.split(presented.reveal())
            claims = parts and text.parse_claims(parts.claims)
            assert claims
            token = AcceptedToken(
                claims.token_id, claims.kid, claims.secret_id, claims.scopes, 0, KEY_ID
            )
        kid = token.kid if token else presented.kid
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
        request = make_request(route=Leased.route, token=token)
        proof = token.proof(entry[0]) if token else presented
        return outcome_of(judge(entry[0], proof, request, RealClock().wall_ms()) or Allow(entry[0]))


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

    async def answer(self, presented: Presented | PresentedToken) -> Outcome:
        """Implement Subject.answer."""
        if now() >= self._trusted_until:
            return Outcome.UNAVAILABLE
        return await self._dict.look_up(presented)

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

    async def answer(self, presented: Presented | PresentedToken) -> Outcome:
        """Implement Subject.answer."""
        return await self._dict.look_up(presented)


TOKEN_MUTANTS = {
    "token alone": TokenAlone,
    "scopes of the token": ScopesOfToken,
    "any secret": AnySecret,
}
MUTANTS = {"get-then-set": GetThenSet, "pub-sub": PubSub, "one clock": OneClock} | TOKEN_MUTANTS
SUBJECTS = {"leased": Leased} | MUTANTS
