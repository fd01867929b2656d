"""LeakReports: acts on reports of leaked keys, by a policy for each environment."""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, Protocol

from authz.core import changes
from authz.core.admin_ports import BatchStore
from authz.core.audit import Action, AuditEvent
from authz.core.changes import Author, KeyChange, Outcome, Refused
from authz.core.errors import Fault, NotFound, Unavailable, Unreadable
from authz.core.leaks import HOUR_MS, OPEN, Done, Finding, Leak, ReportProgress, Response
from authz.core.ports import Clock
from authz.core.records import RevocationReason, Status
from authz.core.trail.erasures import KEY
from authz.core.trail.ports import TrailNotes
from authz.flows.automatic_rotation import KeyRotation
from authz.flows.identification import Identification, Identity, Standing
from authz.flows.lifecycle import Lifecycle

REPORT_KEPT_MS: Final = 7 * 86_400_000
MAX_NOTE: Final = 250  # characters
# The states of keys that a report has ended. A person may have enabled them since.
_ENDED: Final = frozenset({Done.REVOKED, Done.DISABLED, Done.ROTATED})

log = logging.getLogger("authz.leaks")


class LeakMemory(Protocol):
    """Remembers reports, and the keys that were ended by them. Methods raise Unavailable."""

    async def progress(self, report: str) -> ReportProgress:
        """Return how far a report with this id was carried out, as it was remembered."""
        ...

    async def remember(self, report: str, progress: ReportProgress, ms: int) -> None:
        """Remember for `ms` how far a report was carried out."""
        ...

    async def take_places(self, kids: Sequence[str], ms: int, limit: int) -> frozenset[str]:
        """Return the keys that may be ended now, and remember them for `ms`.

        At most `limit` different keys are remembered; of more, the first ones in order are
        returned. The bound MUST hold for all processes together, also if their clocks differ.
        """
        ...


@dataclass(frozen=True, slots=True)
class LeakPolicy:
    """The treatment by environment, and how many keys may be ended in an hour without a person.

    overlap_ms: how long the reported secret works after the new one has reached its holder.
    """

    responses: Mapping[str, Response]
    per_hour: int
    overlap_ms: int = 3_600_000


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry of a report. state: as in ReportProgress. ends: whether the key is to end now."""

    leak: Leak
    identity: Identity
    state: str
    ends: bool

    @property
    def is_as_before(self) -> bool:
        """Whether the outcome is that of an earlier try."""
        return self.state not in {"", OPEN} and not self.ends

    @property
    def last_row(self) -> Done | None:
        """The outcome in the trail's row of an earlier try; None without a row."""
        return Done.HELD if self.state == OPEN else Done(self.state) if self.state else None

    def next_state(self, finding: Finding, open_kids: AbstractSet[str]) -> str:
        """Return the state after a finding. open_kids: the keys that a repetition tries again."""
        if self.is_as_before or finding.done is None:
            return self.state
        return OPEN if self.ends and self.identity.kid in open_kids else finding.done.value


class LeakReports:
    """Carries out reports. Every step may be repeated: a key that does not work is left alone.

    counts: gets the number of reported keys, by what was done.
    """

    def __init__(
        self,
        identification: Identification,
        lifecycle: Lifecycle,
        *,
        batches: BatchStore,
        notes: TrailNotes,
        rotation: KeyRotation,
        memory: LeakMemory,
        policy: LeakPolicy,
        clock: Clock,
        counts: Counter[Done],
    ) -> None:
        self._identification = identification
        self._lifecycle = lifecycle
        self._batches = batches
        self._notes = notes
        self._memory = memory
        self._rotation = rotation
        self._policy = policy
        self._clock = clock
        self._ending = asyncio.Lock()
        self._counts = counts

    async def is_known(self, report: str) -> bool:
        """Return whether a report with this id was carried out in the last 7 days.

        Raises Unavailable.
        """
        return (await self._memory.progress(report)).is_over

    async def carry_out(self, report: str, origin: str, leaks: Sequence[Leak]) -> list[Finding]:
        """Act on each entry and return the findings in order. Then the report is remembered.

        It may come again only if the circuit breaker holds a key, or this raises Unavailable. A
        repetition does nothing to a key that this report has ended, also if a person has enabled it
        meanwhile. It looks again at the others, also at a key that was only noted: it may work now,
        or the policy may be stricter. A key that could not be rotated waits for a person, unless
        the policy is no longer to rotate it.

        The audit trail gets a row for each key, with the place; after a repetition only if the
        outcome is another one. A publishable key is no finding: it gets no row and works on. Raises
        Unavailable if the store fails, if a pepper is missing that would tell whether an entry is a
        key, or if the record of a key cannot be read that is to end. Then other keys may have been
        ended, and the report may be sent again. If the store fails while a report is carried out,
        the next try begins again at the first key.
        """
        states = (await self._memory.progress(report)).of(len(leaks))
        identities = await self._identification.identify([leak.token for leak in leaks])
        entries = [
            _Entry(leak, identity, state, self._ends(identity, state))
            for leak, identity, state in zip(leaks, identities, states, strict=True)
        ]
        wanted = {one.identity.kid: one for one in entries if one.ends}
        async with self._ending:
            kids, limit = list(wanted), self._policy.per_hour
            placed = await self._memory.take_places(kids, HOUR_MS, limit) if kids else frozenset()
        # All keys end before the trail is told of the first one.
        done, unread = await self._end_all(
            {kid: (one.leak, one.identity) for kid, one in wanted.items() if kid in placed}, origin
        )
        found = [await self._note(one, origin, done) for one in entries]
        open_kids = (wanted.keys() - placed) | unread
        progress = [
            one.next_state(finding, open_kids) for one, finding in zip(entries, found, strict=True)
        ]
        is_proven = all(one.standing is not Standing.UNPROVED for one in identities)
        is_over = is_proven and not open_kids
        await self._memory.remember(report, ReportProgress(is_over, progress), REPORT_KEPT_MS)
        if not is_proven:
            raise Unavailable("a pepper of the store is missing here, so a report is not complete")
        if unread:
            raise Unavailable("a record cannot be read here, so a report is not complete")
        return found

    def _response(self, identity: Identity) -> Response:
        record = identity.record
        return self._policy.responses[record.env] if record else Response.REVOKE

    def _ends(self, identity: Identity, state: str) -> bool:
        """Return whether the policy ends this key, which still works. Not a publishable one.

        state: of its entry. A key that this report has ended is not ended again, and one that it
        could not rotate would take the place of another key in each hour. A canary key is not
        ended: it never works, and its use shall still be reported.
        """
        response, record = self._response(identity), identity.record
        if identity.public or identity.is_canary:
            return False
        if state in _ENDED or (state == Done.HELD and response is Response.ROTATE):
            return False
        is_disabled = record is not None and record.status is Status.DISABLED
        return identity.standing is Standing.LIVE and not (
            response is Response.NOTIFY or (response is Response.DISABLE and is_disabled)
        )

    async def _end_all(
        self, found: Mapping[str, tuple[Leak, Identity]], origin: str
    ) -> tuple[dict[str, Done], AbstractSet[str]]:
        """End these keys, most of them in one batch, and return by kid how.

        And the kids whose records cannot be read here: a newer version may read them.
        """
        done: dict[str, Done] = {}
        unread = set[str]()
        planned: dict[str, KeyChange] = {}
        for kid, (leak, identity) in found.items():
            if self._response(identity) is Response.ROTATE:
                done[kid] = await self._rotate(identity, self._author(leak, origin))
                continue
            outcome = self._plan(identity, self._author(leak, origin))
            if isinstance(outcome, KeyChange):
                planned[kid] = outcome
        results = await self._batches.apply_all(list(planned.values())) if planned else []
        for kid, result in zip(planned, results, strict=True):
            if not isinstance(result, Fault):
                done[kid] = self._done(found[kid][1])
        for kid, (leak, identity) in found.items():
            if kid in done:
                continue
            try:  # its record cannot be read, or was changed meanwhile
                done[kid] = await self._end(identity, self._author(leak, origin))
            except NotFound:  # it was deleted meanwhile
                done[kid] = Done.NOTED
            except Unreadable as cause:  # the other keys of the report end, and the trail has them
                log.warning("key %s is not ended: %s", kid, cause)
                done[kid] = Done.HELD
                unread.add(kid)
        return done, unread

    async def _rotate(self, identity: Identity, author: Author) -> Done:
        """Have a key rotated. Without a target of its policy a person decides."""
        record = identity.record
        if record is None or not await self._rotation.begin(
            record, self._policy.overlap_ms, author, secret=identity.secret
        ):
            return Done.HELD
        return Done.ROTATED

    def _plan(self, identity: Identity, author: Author) -> Outcome | None:
        record, now = identity.record, self._clock.wall_ms()
        if record is None:
            return None
        if self._response(identity) is Response.DISABLE:
            return changes.disable(record, author, now)
        return changes.revoke(record, RevocationReason.KEY_COMPROMISE, author, now)

    async def _end(self, identity: Identity, author: Author) -> Done:
        if self._response(identity) is Response.DISABLE:
            result = await self._lifecycle.disable(identity.kid, author)
            return Done.NOTED if isinstance(result, Refused) else Done.DISABLED
        await self._lifecycle.revoke(identity.kid, RevocationReason.KEY_COMPROMISE, author)
        return Done.REVOKED

    def _done(self, identity: Identity) -> Done:
        return Done.DISABLED if self._response(identity) is Response.DISABLE else Done.REVOKED

    def _author(self, leak: Leak, origin: str) -> Author:
        note = f"leaked: {leak.where}"[:MAX_NOTE] if leak.where else "leaked"
        return self._lifecycle.author(f"leaks/{origin}", note)

    async def _note(self, entry: _Entry, origin: str, ended: Mapping[str, Done]) -> Finding:
        leak, identity = entry.leak, entry.identity
        if identity.standing in {Standing.UNKNOWN, Standing.UNPROVED}:
            return Finding(leak, is_key=False)
        if identity.public:  # it was published on purpose
            log.info("key %s was reported by %s: it is publishable", identity.kid, origin)
            return Finding(leak, is_key=False)
        if entry.is_as_before:
            return Finding(leak, is_key=True, done=entry.last_row)
        done = ended.get(identity.kid, Done.HELD) if entry.ends else Done.NOTED
        if done is not entry.last_row:
            author = self._lifecycle.author(f"leaks/{origin}")
            detail = {KEY: identity.kid, "done": done, "where": leak.where, "found_in": leak.source}
            event = AuditEvent(Action.LEAK, author.actor, "", self._clock.wall_ms(), detail)
            await self._notes.append(event, author.change_id)
            self._counts[done] += 1
        log.warning("key %s was reported by %s: %s", identity.kid, origin, done.value)
        return Finding(leak, is_key=True, done=done)
