"""Mutants of the subject: data paths with plausible mistakes."""

import asyncio
import contextlib
import random
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import redis.asyncio

from authz.core.decision import Deny, Reason
from authz.core.errors import Fault, Unavailable
from authz.core.policy import Proof, judge
from authz.core.records import KeyRecord
from authz.core.request import Request, Route
from authz.core.tokens.presented import SecretById
from authz.flows.check import Checker
from authz.flows.keycache import KeyCache
from authz.flows.partitioned.check import PartitionedChecker
from authz.storage import encoding
from authz.storage.cluster_link import SlotFault
from authz.storage.endpoint import Endpoint
from authz.storage.feed import ChangeFeed
from authz.storage.linked_keys import LinkedKeys
from tests.chaos.caches import TTL, Asked, Leased, Part
from tests.chaos.checker import Bounds
from tests.chaos.history import Outcome, now
from tests.chaos.live_rules import OUTCOMES, CarelessSettings
from tests.chaos.rules import HELD
from tests.support.fakes import RecordingProbe, make_keyring, make_request
from tests.support.interpreted import interpreted
from tests.support.real import RealClock
from tests.support.storage import stored


class OneClock(Leased):
    """The mutant that decides by its own clock alone."""

    has_two_clocks = False
    registers = False


class CarelessReload(Leased):
    """The mutant that takes every settings file as it is."""

    settings_type = CarelessSettings
    registers = False


class TokenAlone(interpreted(Checker)):
    """A checker that looks at a token alone, once it has found the record of its key."""

    def _judge(
        self, proof: Proof, record: KeyRecord, request: Request, *, stale: bool = False
    ) -> Deny | None:
        token = request.token
        if token is None:
            return super()._judge(proof, record, request, stale=stale)
        if token.covers(request.route.scopes):
            return None
        return Deny(Reason.INSUFFICIENT_SCOPE, record)


class ScopesOfToken(interpreted(Checker)):
    """A checker that judges the scopes of a token and not those of its key."""

    def _judge(
        self, proof: Proof, record: KeyRecord, request: Request, *, stale: bool = False
    ) -> Deny | None:
        if request.token is not None:
            record = replace(record, scopes=record.scopes | request.token.scopes)
        return super()._judge(proof, record, request, stale=stale)


class AnySecret(interpreted(Checker)):
    """A checker for which a token proves the newest secret of its key."""

    def _judge(
        self, proof: Proof, record: KeyRecord, request: Request, *, stale: bool = False
    ) -> Deny | None:
        if request.token is not None:
            proof = SecretById(record.newest_secret.digest)
        return super()._judge(proof, record, request, stale=stale)


def mutant_of(checker: type[Checker]) -> type[Leased]:
    """Return the data path with this checker, behind one that takes checkers of any kind."""

    def decider(self: Leased, *_unused: object) -> PartitionedChecker:
        checkers = [part.checker for part in self.parts]
        return PartitionedChecker(checkers, may_have_moved=lambda _partition: False, max_moved=1)

    members = {"checker_type": checker, "registers": False, "decider": decider}
    return type(checker.__name__, (Leased,), members)


class _Dict:
    """Records with their expiry, and a separate client to read them."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.entries: dict[str, tuple[KeyRecord | None, float]] = {}
        self.client = endpoint.client(timeout=0.3)

    async def look_up(self, asked: Asked) -> Outcome:
        kid = asked.kid
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
        record, token = entry[0], asked.token
        request = make_request(route=Route(frozenset({HELD})), token=token)
        proof = token.proof(record) if token else asked.presented
        refusal = judge(record, proof, request, RealClock().wall_ms())
        return OUTCOMES[refusal.reason, False] if refusal else Outcome.ALLOW


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
        return await self._dict.look_up(asked)

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
        return await self._dict.look_up(asked)


class Trusting(Leased):
    """The mutant that asks no replica of a primary, and takes a refused write for nothing."""

    registers = False

    def __init__(self, endpoint: Endpoint, bounds: Bounds, grace: float, file: Path) -> None:
        super().__init__(endpoint, bounds, grace, file)
        for part in self.parts:
            part.feed._heartbeats._replication = None


class AskIsAbsence(Leased):
    """The mutant for which a refusal because of the slot says that there is no such key."""

    registers = False
    ttl = 0.2  # so that it reads while the slot moves

    class source_type(LinkedKeys):  # noqa: N801  the name of the attribute
        """Reads of a node that may refuse them."""

        def _read(self, kid: str, reply: Any) -> KeyRecord | Fault | None:
            return None if isinstance(reply, SlotFault) else super()._read(kid, reply)


class _TrustAlone:
    """A ChangeSink that passes on trust and flushes, and no change."""

    def __init__(self, cache: KeyCache) -> None:
        self.flush, self.trust = cache.flush, cache.trust

    def forget(self, kid: str, *, revoked: bool) -> None:
        """Implement ChangeSink.forget."""


class FirstAlone(Leased):
    """The mutant whose caches hear of changes in the first partition alone."""

    registers = False

    def fed(self, part: Part) -> Coroutine[None, None, None]:
        """Return the work of a feed whose changes reach a cache only if it is the first."""
        is_first = part is self.parts[0]
        return part.feed.run(part.cache if is_first else _TrustAlone(part.cache))


CLUSTER_MUTANTS = {"trusting": Trusting, "ask is absence": AskIsAbsence}
PARTITION_MUTANTS = CLUSTER_MUTANTS | {"first alone": FirstAlone}
TOKEN_MUTANTS = {
    "token alone": mutant_of(TokenAlone),
    "scopes of the token": mutant_of(ScopesOfToken),
    "any secret": mutant_of(AnySecret),
}
MUTANTS = {
    "get-then-set": GetThenSet,
    "pub-sub": PubSub,
    "one clock": OneClock,
    "careless reload": CarelessReload,
    **TOKEN_MUTANTS,
}
SUBJECTS = {"leased": Leased} | MUTANTS | PARTITION_MUTANTS
RELOADING = {kind for kind, subject in SUBJECTS.items() if issubclass(subject, Leased)}
