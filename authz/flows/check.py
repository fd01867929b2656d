"""Checker: decides one request. On a cache hit nothing waits.

In a store outage nothing waits either: the state of the link says whether to serve stale records.
"""

from collections.abc import Awaitable
from typing import TypeVar

from authz.core.abuse import FAILURES, FailureBuckets
from authz.core.audit import Action
from authz.core.decision import (
    Allow,
    Decision,
    Deny,
    Reason,
    StaleAllow,
    StaleDeny,
    decide_by_limits,
)
from authz.core.errors import Unavailable
from authz.core.events import Event
from authz.core.keys.credentials import Imported, Presented
from authz.core.limits.charge_once import charged_once
from authz.core.limits.key_limits import LimitResult
from authz.core.policy import Proof, judge, judge_within
from authz.core.ports import Clock, PepperProof, Probe
from authz.core.records import KeyRecord
from authz.core.request import Request
from authz.core.sightings import Sightings
from authz.core.store_clock import StoreClock
from authz.core.tokens.presented import AcceptedToken, PresentedToken
from authz.flows.answers import (
    ANONYMOUS,
    FORGED,
    MALFORMED,
    MISSING,
    TOO_MANY,
    UNAVAILABLE,
    UNKNOWN,
    settled,
)
from authz.flows.imported import ImportedKeys
from authz.flows.keycache import KeyCache
from authz.flows.limits.limiter import Limiter
from authz.flows.limits.no_limits import charge_nothing
from authz.flows.lookups import DecideElsewhere, Lookup, NativeKeys, TokenKeys, nowhere
from authz.flows.tokens.gate import TokenGate

_Key = TypeVar("_Key")


class Checker:
    """Decides requests. A refusal is a return value; only a bug raises.

    imported: the lookup of imported keys; without it there are none. limiter: takes from the limits
    of keys; without it keys have no limits. store_clock: the store's clock; without it decisions go
    by our clock alone. tokens: accepts tokens; without it there are none. sightings: collects uses
    of canary keys. failures: counts the failures of each address; without it none is blocked.
    """

    def __init__(
        self,
        cache: KeyCache,
        peppers: PepperProof,
        clock: Clock,
        probe: Probe,
        imported: ImportedKeys | None = None,
        *,
        limiter: Limiter | None = None,
        store_clock: StoreClock | None = None,
        tokens: TokenGate | None = None,
        sightings: Sightings | None = None,
        failures: FailureBuckets | None = None,
    ) -> None:
        self.cache = cache
        self._peek = cache.peek
        self._native = NativeKeys(cache)
        self._refutes = peppers.refutes
        self._wall_ms = clock.wall_ms
        self._monotonic = clock.monotonic
        self._store_clock = store_clock
        self._probe = probe
        self._decided, self._reported = probe.decided, probe.reported
        self.imported = imported
        self._accept = tokens.accept if tokens else None
        self._refuse_token = tokens.refuse if tokens else None
        self._token_keys = TokenKeys(cache)
        self._sightings = sightings or Sightings()
        self._fail = failures.fail if failures else None
        self.elsewhere: DecideElsewhere = nowhere  # another one if there are several partitions
        self.hits = 0  # checks that found their record in the cache; only grows
        self._spend = limiter.spend if limiter else charge_nothing

    def check(self, request: Request) -> Decision | Awaitable[Decision]:
        """Return the decision, or an awaitable of it if the store must be asked.

        A store that cannot be asked leads to a stale decision or to a Deny with UNAVAILABLE;
        neither raises. Counts the decision with the probe, and takes an allowed request from the
        limits.
        """
        presented = request.credential
        if not isinstance(presented, Presented):
            if isinstance(presented, Imported):
                return self._check_imported(presented, request)
            if isinstance(presented, PresentedToken):
                return self._check_token(presented, request)
            without = ANONYMOUS if request.route.optional else MISSING
            return self.conclude(presented or without, request)
        record = self._peek(presented.kid)
        if record is not None:
            self.hits += 1
            refusal = self._judge(presented, record, request)
            return self.conclude(refusal, request) if refusal else self._charge(record, request)
        refusal = self._refuse_unproven(presented)
        if refusal is not None:  # in a flood nearly every request ends here
            return self.conclude(refusal, request)
        return self._look_up(self._native, presented, request)

    def _check_imported(
        self, imported: Imported, request: Request
    ) -> Decision | Awaitable[Decision]:
        """Decide on text that is not one of our keys. Without imports: MALFORMED, without I/O.

        UNKNOWN without I/O if the index of imported digests proves that it is no imported key. If
        it is unknown whether there are imports, other keys than cached ones get UNAVAILABLE.
        """
        keys = self.imported
        exist = keys is not None and keys.exist()
        if keys is None or exist is False:
            return self.conclude(MALFORMED, request)
        found = keys.peek(imported)
        if found is not None:
            self.hits += 1
            return self._decide(*found, request)
        if keys.is_excluded(imported):  # in a flood of foreign texts nearly every request ends here
            return self.conclude(UNKNOWN, request)
        return self._look_up(keys, imported, request, may_ask=exist is True)

    def _check_token(
        self, presented: PresentedToken, request: Request
    ) -> Decision | Awaitable[Decision]:
        """Decide on a token by the record of its parent key."""
        token = self.accept(presented, request)
        if isinstance(token, Deny):
            return self.conclude(token, request)
        return self.check_accepted(token, request)

    def accept(self, presented: PresentedToken, request: Request) -> AcceptedToken | Deny:
        """Return the token, or its refusal: MALFORMED if none is accepted here."""
        if self._accept is None:
            return MALFORMED
        return self._accept(presented, request.client_address)

    def check_accepted(
        self, token: AcceptedToken, request: Request
    ) -> Decision | Awaitable[Decision]:
        """Decide on an accepted token by the record of its parent key."""
        request.token = token
        record = self._peek(token.kid)
        if record is not None:
            self.hits += 1
            return self._decide(token.proof(record), record, request)
        return self._look_up(self._token_keys, token, request)

    def _decide(
        self, proof: Proof, record: KeyRecord, request: Request
    ) -> Decision | Awaitable[Decision]:
        """Decide on a record that is found; `check` does the same for a hit."""
        refusal = self._judge(proof, record, request)
        return self.conclude(refusal, request) if refusal else self._charge(record, request)

    def _judge(
        self, proof: Proof, record: KeyRecord, request: Request, *, stale: bool = False
    ) -> Deny | None:
        """Return the refusal by the record, or None to allow; limits are not looked at."""
        now, clock, turns = self._wall_ms(), self._store_clock, record.turns
        if (
            not turns
            or clock is None
            or (
                not stale
                and (clock.earliest <= now <= clock.latest < turns[0] or clock.is_clear(turns, now))
            )
        ):
            refusal = judge(record, proof, request, now)
        else:
            refusal = judge_within(record, proof, request, clock.window(now, self._monotonic()))
        if refusal is None:
            return None
        if refusal.reason is Reason.WRONG_SECRET and isinstance(proof, Presented):
            return self._refuse_unproven(proof) or refusal
        if refusal.reason is Reason.CANARY:
            self._sightings.note(Action.CANARY, record.kid, request.client_address, now)
        return refusal

    def _refuse_unproven(self, presented: Presented) -> Deny | None:
        """Refuse text that cannot be one of our keys, without I/O. Return None if it can be.

        MALFORMED for a wrong checksum. A wrong tag is FORGED only if our peppers are known to be
        the store's. Until then a good key could look forged, so the decision is UNAVAILABLE.
        """
        flaw = presented.flaw()
        if flaw is None:
            return None
        if flaw == "checksum":
            return MALFORMED
        return FORGED if self._refutes(presented.pepper_version) else UNAVAILABLE

    # lookups: the same for native and imported keys

    def _look_up(
        self, keys: Lookup[_Key], credential: _Key, request: Request, *, may_ask: bool = True
    ) -> Decision | Awaitable[Decision]:
        if not self.cache.is_trusted and (stale := self._decide_stale(keys, credential, request)):
            return stale
        if not may_ask:
            return self.conclude(UNAVAILABLE, request)
        return self._find(keys, credential, request)

    async def _find(self, keys: Lookup[_Key], credential: _Key, request: Request) -> Decision:
        try:
            found = await keys.find(credential, request.client_address)
        except Unavailable as cause:
            decision = (
                self._decide_stale(keys, credential, request)
                or self.elsewhere(credential, request, cause)
                or self.conclude(UNAVAILABLE, request)
            )
        else:
            decision = self._decide(*found, request) if found else self.conclude(UNKNOWN, request)
        return await settled(decision)

    def _decide_stale(
        self, keys: Lookup[_Key], credential: _Key, request: Request
    ) -> Decision | Awaitable[Decision] | None:
        """Decide by a stale record. Return None if `peek_stale` of `keys` finds none.

        Counts STALE_ALLOWED unless the record refuses the request.
        """
        found = keys.peek_stale(credential)
        if found is None:
            return None
        refusal: Deny | None = None
        if request.token is not None and self._refuse_token is not None:
            refusal = self._refuse_token(request.token)
        refusal = refusal or self._judge(*found, request, stale=True)
        if refusal is not None:
            return self.conclude(StaleDeny(refusal.reason, refusal.key), request)
        self._probe.count(Event.STALE_ALLOWED)
        return self._charge(found[1], request, stale=True)

    # limits

    def _charge(
        self, key: KeyRecord, request: Request, *, stale: bool = False
    ) -> Decision | Awaitable[Decision]:
        """Take an allowed request from the limits of its key, which may refuse it.

        Counts the final decision with the probe and returns it, as an awaitable if the store must
        be asked. UNAVAILABLE if the limits cannot be counted. stale: the record is.
        """
        route, once = request.route, None
        try:
            if route.charge_once is not None:
                once = charged_once(key.kid, request)
            result = self._spend(key, route.cost, once)
        except Unavailable:
            return self.conclude(UNAVAILABLE, request)
        if result is None:
            self._decided(None)
            return StaleAllow(key) if stale else Allow(key)
        if isinstance(result, LimitResult):
            return self.conclude(decide_by_limits(key, result, stale=stale), request)
        return self._wait_for(result, key, request, stale=stale)

    async def _wait_for(
        self, spending: Awaitable[LimitResult], key: KeyRecord, request: Request, *, stale: bool
    ) -> Decision:
        try:
            result = await spending
        except Unavailable:
            return self.conclude(UNAVAILABLE, request)
        return self.conclude(decide_by_limits(key, result, stale=stale), request)

    def conclude(self, decision: Decision, request: Request) -> Decision:
        """Count the decision and return it.

        A refusal on a route that does not enforce is counted apart, by `Probe.reported`. A failure
        of an address with too many of them becomes TOO_MANY_FAILURES.
        """
        if not isinstance(decision, Deny):
            self._decided(None)
        elif request.route.enforce is False:
            self._reported(decision.reason)
        else:
            fail = self._fail if decision.reason in FAILURES else None
            if fail and fail(request.client_address, self._wall_ms()):
                decision = TOO_MANY
            self._decided(decision.reason)
        return decision
