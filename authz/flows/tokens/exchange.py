"""Exchange: a key for a short-lived token (RFC 8693).

Rules:
1. Each wrong subject token gets the same refusal, REFUSAL_SECONDS after it came. So neither the
   answer nor its time tells whether there is such a key, and why it is refused.
2. Text that we did not make costs no I/O. Imported keys are not exchanged: nothing but a lookup
   would prove them, and anybody could cause lookups.
3. An exchange takes 1 from the limits of the key.
4. Restrictions to addresses, hosts and routes are not judged here. They hold at each use of the
   token, by the record of its key. Allowed origins are judged here, too.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from authz.core import policy
from authz.core.admin_ports import KeyStore
from authz.core.audit import Action
from authz.core.decision import Reason
from authz.core.errors import BadInput, Unavailable
from authz.core.keys.credentials import Presented, matches
from authz.core.keys.keyring import Keyring
from authz.core.limits.key_limits import LimitResult
from authz.core.ports import Clock, PepperProof
from authz.core.records import KeyRecord
from authz.core.request import Request, Route
from authz.core.sightings import Sightings
from authz.flows.tokens.issuing import SCOPE, Issued, TokenIssuer, Wish

REFUSAL_SECONDS: Final = 0.1
MAX_WAITING: Final = 1_000  # refusals that wait; more are answered at once

Spend = Callable[[KeyRecord, int], LimitResult | Awaitable[LimitResult] | None]
Sleep = Callable[[float], Awaitable[None]]


class ExchangeError(StrEnum):
    """The reasons to refuse an exchange."""

    BAD_SUBJECT = "bad_subject"
    BAD_SCOPE = "bad_scope"
    BAD_AUDIENCE = "bad_audience"
    OVER_LIMIT = "over_limit"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Refused:
    """A refused exchange. retry_after: seconds until another try may succeed, or None.

    why: for the log. It holds nothing that the caller sent.
    """

    error: ExchangeError
    retry_after: int | None = None
    why: str = ""


BAD_SUBJECT: Final = Refused(ExchangeError.BAD_SUBJECT)


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for an exchange. subject: the key. origin: the Origin of the request, or empty.

    permits: whether the caller may ask for a token of this key. A key for which it may not is
    refused like one that does not exist.
    """

    subject: str = field(repr=False)
    wish: Wish
    origin: str = ""
    permits: Callable[[KeyRecord], bool] = lambda _record: True


class Exchange:
    """Exchanges keys. spend: takes from the limits of a key; see Limiter.spend.

    sightings: collects uses of canary keys.
    """

    def __init__(
        self,
        store: KeyStore,
        keyring: Keyring,
        peppers: PepperProof,
        clock: Clock,
        *,
        issuer: TokenIssuer,
        spend: Spend,
        sleep: Sleep = asyncio.sleep,
        sightings: Sightings | None = None,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._peppers = peppers
        self._clock = clock
        self._issuer = issuer
        self._spend = spend
        self._sleep = sleep
        self._sightings = sightings or Sightings()
        self._waiting = 0

    async def exchange(self, ask: Ask) -> Issued | Refused:
        """Return the new token, or the refusal. Raises nothing for a store that fails."""
        began = self._clock.monotonic()
        try:
            found = await self._exchange(ask)
        except Unavailable as cause:
            return Refused(ExchangeError.UNAVAILABLE, 1, str(cause))
        if found is BAD_SUBJECT and self._waiting < MAX_WAITING:
            self._waiting += 1
            try:
                taken = self._clock.monotonic() - began
                await self._sleep(max(0.0, REFUSAL_SECONDS - taken))
            finally:
                self._waiting -= 1
        return found

    async def _exchange(self, ask: Ask) -> Issued | Refused:
        presented = self._keyring.parse(ask.subject)
        if presented is None or self._is_forged(presented):
            return BAD_SUBJECT
        record = await self._store.find(presented.kid)
        if (
            record is None
            or not ask.permits(record)
            or self._refuses(record, presented, ask.origin)
        ):
            return BAD_SUBJECT
        digest = presented.digest()
        secret = next(one for one in record.secrets if matches(digest, one.digest))
        limited = await self._take(record)
        if limited is not None:
            return limited
        try:
            issued = await self._issuer.issue(record, secret.id, ask.wish)
        except BadInput as cause:
            is_scope = cause.field == SCOPE
            return Refused(ExchangeError.BAD_SCOPE if is_scope else ExchangeError.BAD_AUDIENCE)
        return issued or BAD_SUBJECT

    def _is_forged(self, presented: Presented) -> bool:
        """Return whether we did not make this text. Raises Unavailable if that is unknown."""
        flaw = presented.flaw()
        if flaw == "tag" and not self._peppers.refutes(presented.pepper_version):
            raise Unavailable("the peppers of the store are unknown")
        return flaw is not None

    def _refuses(self, record: KeyRecord, presented: Presented, origin: str) -> Reason | None:
        now = self._clock.wall_ms()
        headers = {"origin": origin.encode()} if origin else {}
        request = Request(presented, "", Route(), "POST", "", "", "", headers)
        refusal = (
            policy.secret(record, presented, now)
            or policy.status(record, request, now)
            or policy.not_before(record, request, now)
            or policy.expiry(record, request, now)
            or policy.origin(record, request, now)
        )
        if refusal is Reason.CANARY:
            self._sightings.note(Action.CANARY, record.kid, "", now)
        return refusal

    async def _take(self, record: KeyRecord) -> Refused | None:
        found = self._spend(record, 1)
        if found is None:
            return None
        result = found if isinstance(found, LimitResult) else await found
        if result.allowed:
            return None
        wait = result.retry_after_ms
        return Refused(ExchangeError.OVER_LIMIT, None if wait is None else -(-wait // 1000))
