"""Checker: one request in, one decision out. On a cache hit nothing here waits.

Nor in an outage of the store: the state of the link decides, no request waits to find out.
"""

from collections.abc import Awaitable
from typing import Final

from authz.core.decision import Allow, Decision, Deny, Reason, StaleAllow, StaleDeny, settle
from authz.core.errors import Unavailable
from authz.core.events import Event
from authz.core.keys.keyring import Imported, Presented
from authz.core.limits.key_limits import LimitResult
from authz.core.policy import judge
from authz.core.ports import Clock, PepperProof, Probe
from authz.core.records import KeyRecord
from authz.core.request import Request
from authz.flows.imported import Found, ImportedKeys
from authz.flows.keycache import KeyCache
from authz.flows.limits.limiter import Limiter

ANONYMOUS: Final = Allow(None)
MISSING: Final = Deny(Reason.MISSING_CREDENTIAL)
MALFORMED: Final = Deny(Reason.MALFORMED)
FORGED: Final = Deny(Reason.FORGED)
UNKNOWN: Final = Deny(Reason.UNKNOWN_KEY)
UNAVAILABLE: Final = Deny(Reason.UNAVAILABLE)


class Checker:
    """Decides requests. A refusal is returned; only a bug raises.

    imported: where keys of somebody else's make are found; without it there are none. limiter:
    what takes from the limits of keys; without it no key has any.
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
    ) -> None:
        self._cache = cache
        self._peek = cache.peek
        self._find = cache.find
        self._refutes = peppers.refutes
        self._wall_ms = clock.wall_ms
        self._probe = probe
        self._decided = probe.decided
        self._imported = imported
        self.hits = 0  # checks that found their record in the cache; only grows
        self._spend = limiter.spend if limiter else _take_nothing

    def check(self, request: Request) -> Decision | Awaitable[Decision]:
        """The decision, or an awaitable of it when the store must be asked."""
        presented = request.credential
        if not isinstance(presented, Presented):
            if isinstance(presented, Imported):
                return self._check_imported(presented, request)
            return self._conclude(presented or self._without_key(request))
        record = self._peek(presented.kid)
        if record is not None:
            self.hits += 1
            return self._charge(self._with_record(record, presented, request), request)
        refusal = self._refuse_unproven(presented)
        if refusal is not None:  # in a flood nearly every request ends here
            self._decided(refusal.reason)
            return refusal
        if not self._cache.is_trusted:
            going_on = self._go_on(presented, request)
            if going_on is not None:
                return self._charge(going_on, request)
        return self._look_up(presented, request)

    def _without_key(self, request: Request) -> Decision:
        return ANONYMOUS if request.route.optional else MISSING

    def _with_record(self, record: KeyRecord, presented: Presented, request: Request) -> Decision:
        refusal = judge(record, presented, request, self._wall_ms())
        if refusal is None:
            return Allow(record)
        if refusal.reason is Reason.WRONG_SECRET:
            return self._refuse_unproven(presented) or refusal
        return refusal

    def _go_on(self, presented: Presented, request: Request) -> Decision | None:
        """The decision on what was known before the outage; None when that is not enough."""
        record = self._cache.recall(presented.kid)
        if record is None:
            return None
        return self._as_stale(self._with_record(record, presented, request), record)

    def _as_stale(self, decision: Decision, record: KeyRecord) -> Decision:
        if isinstance(decision, Deny):
            return StaleDeny(decision.reason, decision.key)
        self._probe.count(Event.STALE_ALLOWED)
        return StaleAllow(record)

    def _refuse_unproven(self, presented: Presented) -> Deny | None:
        """Refuse what cannot be one of our keys, without I/O.

        A tag that fails proves a forgery only when our peppers are known to be the store's. Until
        then a good key could look forged, so the answer is that we do not know.
        """
        flaw = presented.flaw()
        if flaw is None:
            return None
        if flaw == "checksum":
            return MALFORMED
        return FORGED if self._refutes(presented.pepper_version) else UNAVAILABLE

    async def _look_up(self, presented: Presented, request: Request) -> Decision:
        try:
            record = await self._find(presented.kid)
        except Unavailable:
            decision = self._go_on(presented, request) or UNAVAILABLE
        else:
            decision = UNKNOWN
            if record is not None:
                decision = self._with_record(record, presented, request)
        return await self._charged(decision, request)

    def _check_imported(
        self, imported: Imported, request: Request
    ) -> Decision | Awaitable[Decision]:
        """A text that is not ours costs no I/O unless the store has keys like it."""
        keys = self._imported
        exist = keys is not None and keys.exist()
        if keys is None or exist is False:
            return self._conclude(MALFORMED)
        found = keys.peek(imported)
        if found is not None:
            self.hits += 1
            return self._charge(self._with_alias(found, request), request)
        if not self._cache.is_trusted:
            going_on = self._go_on_imported(keys, imported, request)
            if going_on is not None:
                return self._charge(going_on, request)
        if exist is None:
            return self._conclude(UNAVAILABLE)
        return self._look_up_imported(keys, imported, request)

    async def _look_up_imported(
        self, keys: ImportedKeys, imported: Imported, request: Request
    ) -> Decision:
        try:
            found = await keys.find(imported)
        except Unavailable:
            decision = self._go_on_imported(keys, imported, request) or UNAVAILABLE
        else:
            decision = UNKNOWN if found is None else self._with_alias(found, request)
        return await self._charged(decision, request)

    def _go_on_imported(
        self, keys: ImportedKeys, imported: Imported, request: Request
    ) -> Decision | None:
        """See `_go_on`."""
        found = keys.recall(imported)
        return self._as_stale(self._with_alias(found, request), found[1]) if found else None

    def _with_alias(self, found: Found, request: Request) -> Decision:
        alias, record = found
        return judge(record, alias, request, self._wall_ms()) or Allow(record)

    def _charge(self, decision: Decision, request: Request) -> Decision | Awaitable[Decision]:
        """Who is let through takes from its limits, unless there are none."""
        if isinstance(decision, Deny) or decision.key is None:
            return self._conclude(decision)
        try:
            spent = self._spend(decision.key, request.route.cost)
        except Unavailable:
            return self._conclude(UNAVAILABLE)
        if spent is None:
            return self._conclude(decision)
        if isinstance(spent, LimitResult):
            return self._conclude(settle(decision.key, spent, stale=decision.stale))
        return self._wait_for(spent, decision.key, stale=decision.stale)

    async def _charged(self, decision: Decision, request: Request) -> Decision:
        charged = self._charge(decision, request)
        return charged if isinstance(charged, (Allow, Deny)) else await charged

    async def _wait_for(
        self, spending: Awaitable[LimitResult], key: KeyRecord, *, stale: bool
    ) -> Decision:
        try:
            spent = await spending
        except Unavailable:
            return self._conclude(UNAVAILABLE)
        return self._conclude(settle(key, spent, stale=stale))

    def _conclude(self, decision: Decision) -> Decision:
        self._decided(decision.reason if isinstance(decision, Deny) else None)
        return decision


def _take_nothing(_key: KeyRecord, _cost: int) -> None:
    """No key has limits."""
