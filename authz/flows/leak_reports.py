"""LeakReports: acts on reports of leaked keys, by a policy for each environment."""

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from authz.core.audit import Action, AuditEvent
from authz.core.changes import Refused
from authz.core.leaks import HOUR_MS, Done, Finding, Leak, Response
from authz.core.ports import Clock
from authz.core.records import RevocationReason, Status
from authz.core.trail.erasures import KEY
from authz.core.trail.ports import TrailNotes
from authz.flows.identification import Identification, Identity, Standing
from authz.flows.lifecycle import Lifecycle

AT_ONCE: Final = 16  # keys of one report
REPORT_KEPT_MS: Final = 7 * 86_400_000
MAX_NOTE: Final = 250  # characters

_T = TypeVar("_T")

log = logging.getLogger("authz.leaks")


class LeakMemory(Protocol):
    """Remembers reports, and the keys that were ended by them. Methods raise Unavailable."""

    async def is_known(self, report: str, ms: int) -> bool:
        """Return whether a report with this id was carried out in the last `ms`."""
        ...

    async def remember(self, report: str, ms: int) -> None:
        """Remember a report for `ms`."""
        ...

    async def may_end(
        self, kids: Sequence[str], now: int, since: int, limit: int
    ) -> frozenset[str]:
        """Return the keys that may be ended now, the first ones, and remember them.

        At most `limit` keys since a time. Times are in ms since the epoch. Two processes that ask
        at the same time may each get the whole rest.
        """
        ...


@dataclass(frozen=True, slots=True)
class LeakPolicy:
    """The treatment by environment, and how many keys may be ended in an hour without a person."""

    responses: Mapping[str, Response]
    per_hour: int


class LeakReports:
    """Carries out reports. Every step may be repeated: a key that does not work is left alone."""

    def __init__(
        self,
        identification: Identification,
        lifecycle: Lifecycle,
        *,
        notes: TrailNotes,
        memory: LeakMemory,
        policy: LeakPolicy,
        clock: Clock,
    ) -> None:
        self._identification = identification
        self._lifecycle = lifecycle
        self._notes = notes
        self._memory = memory
        self._policy = policy
        self._clock = clock
        self._ending = asyncio.Lock()

    async def is_known(self, report: str) -> bool:
        """Return whether a report with this id was carried out in the last 7 days.

        Raises Unavailable.
        """
        return await self._memory.is_known(report, REPORT_KEPT_MS)

    async def carry_out(self, report: str, origin: str, leaks: Sequence[Leak]) -> list[Finding]:
        """Act on each entry and return the findings in order. Then the report is remembered.

        The audit trail gets a row for each key, with the place. Raises
        Unavailable if the store fails; then some keys may have been ended, and the report may be
        sent again.
        """
        identities = await self._each([self._identification.identify(leak.token) for leak in leaks])
        wanted = [one.kid for one in identities if self._ends(one)]
        async with self._ending:
            now = self._clock.wall_ms()
            since, limit = now - HOUR_MS, self._policy.per_hour
            kids = list(dict.fromkeys(wanted))
            may_end = await self._memory.may_end(kids, now, since, limit) if kids else frozenset()
        pairs = list(zip(leaks, identities, strict=True))
        # All keys end before the trail is told of the first one.
        done = await self._each([self._act(*pair, origin, may_end) for pair in pairs])
        found = await self._each(
            [self._note(*pair, origin, one) for pair, one in zip(pairs, done, strict=True)]
        )
        await self._memory.remember(report, REPORT_KEPT_MS)
        return found

    async def _each(self, works: Sequence[Coroutine[None, None, _T]]) -> list[_T]:
        """Return the results in order, AT_ONCE (16) at a time.

        If one fails the others go on, then its error is raised.
        """
        limiter = asyncio.Semaphore(AT_ONCE)

        async def one(work: Coroutine[None, None, _T]) -> _T:
            async with limiter:
                return await work

        found = []
        for result in await asyncio.gather(*map(one, works), return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
            found.append(result)
        return found

    def _response(self, identity: Identity) -> Response:
        record = identity.record
        return self._policy.responses[record.env] if record else Response.REVOKE

    def _ends(self, identity: Identity) -> bool:
        """Return whether the policy ends this key, which still works."""
        response, record = self._response(identity), identity.record
        is_disabled = record is not None and record.status is Status.DISABLED
        return identity.standing is Standing.LIVE and not (
            response is Response.NOTIFY or (response is Response.DISABLE and is_disabled)
        )

    async def _act(
        self, leak: Leak, identity: Identity, origin: str, may_end: frozenset[str]
    ) -> Done:
        if not self._ends(identity):
            return Done.NOTED
        return await self._end(identity, leak, origin) if identity.kid in may_end else Done.HELD

    async def _end(self, identity: Identity, leak: Leak, origin: str) -> Done:
        kid = identity.kid
        author = self._lifecycle.author(f"leaks/{origin}", f"leaked: {leak.where}"[:MAX_NOTE])
        if self._response(identity) is Response.DISABLE:
            result = await self._lifecycle.disable(kid, author)
            return Done.NOTED if isinstance(result, Refused) else Done.DISABLED
        await self._lifecycle.revoke(kid, RevocationReason.KEY_COMPROMISE, author)
        return Done.REVOKED

    async def _note(self, leak: Leak, identity: Identity, origin: str, done: Done) -> Finding:
        if identity.standing is Standing.UNKNOWN:
            return Finding(leak, is_key=False)
        author = self._lifecycle.author(f"leaks/{origin}")
        detail = {KEY: identity.kid, "done": done, "where": leak.where, "found_in": leak.source}
        event = AuditEvent(Action.LEAK, author.actor, "", self._clock.wall_ms(), detail)
        await self._notes.append(event, author.change_id)
        log.warning("key %s was reported by %s: %s", identity.kid, origin, done.value)
        return Finding(leak, is_key=True, done=done)
