"""Early retirement: ends the old secret of a rotation when usage shows that nobody needs it."""

import logging
from collections.abc import AsyncIterator, Callable
from typing import Final, Protocol

from authz.core import secret_changes
from authz.core.changes import KeyChange, Outcome, Unchanged
from authz.core.errors import NotFound, OutcomeUnknown, Unreadable
from authz.core.ports import Clock
from authz.core.records import KeyRecord
from authz.core.rotation import RotationPolicies
from authz.core.usage.completeness import MOST_MISSING, Completeness
from authz.core.usage.ports import KeyFacts
from authz.flows.lifecycle import Changed, Lifecycle
from authz.flows.repeated_looks import RepeatedLooks

MAX_A_ROUND: Final = 100  # secrets that end; the others wait for the next round
UNDER_WAY: Final = 10  # requests of all processes whose entries may be on their way in a round
MAX_COUNTS: Final = 48  # counts of the requests that are kept, of earlier rounds

log = logging.getLogger("authz.rotation")
OVERLAPS: Final = RepeatedLooks(3600.0, "old secrets end later", log)

Records = Callable[[], AsyncIterator[KeyRecord]]


class UsageFacts(Protocol):
    """Reads the uses of secrets. All raise Unavailable; `facts` also Unreadable."""

    async def facts(self, kid: str) -> KeyFacts:
        """Return the facts about a key."""
        ...

    async def completeness(self) -> Completeness:
        """Return how many requests have a usage record."""
        ...

    async def misdated(self) -> int:
        """Return how many requests, ever, were counted for no key: their Envoy's clock is off."""
        ...


class EarlyRetirement:
    """Ends old secrets by the rotation policies. records: begins a read of all keys.

    No secret ends if usage is not complete: then a secret in use may look unused. The same holds
    until `retire_after` has passed since the first round, and since the last round that found usage
    incomplete, new misdated requests, or a gap.

    A gap: more than 1 % and more than UNDER_WAY (10) of the requests since an earlier round have no
    usage record. A round is compared with those of the longest `retire_after` before it. Two rounds
    alone would not do: those of a long outage may each miss few. Nor would all requests of a
    process: a short outage is soon less than 1 % of them.
    """

    def __init__(
        self,
        records: Records,
        usage: UsageFacts,
        lifecycle: Lifecycle,
        policies: RotationPolicies,
        *,
        clock: Clock,
        writer: str,
    ) -> None:
        self._records = records
        self._usage = usage
        self._lifecycle = lifecycle
        self._policies = policies
        self._clock = clock
        self._writer = writer
        self._misdated: int | None = None  # at the last round
        # Of earlier rounds, the oldest first: ms since the epoch, and the requests until then.
        self._counts: list[tuple[int, Completeness]] = []
        self._longest = max((one.retire_after_ms or 0 for one in policies.each()), default=0)
        self._unsure_at = float("-inf")  # ms since the epoch

    async def look(self) -> int:
        """End the old secrets that nobody needs, at most MAX_A_ROUND (100). Return how many.

        A key whose usage cannot be read is left out. Raises Unavailable if the store fails,
        Unreadable if it cannot be told whether usage is complete.
        """
        are_dated, are_counted = await self._are_dated(), await self._are_counted()
        if not (are_dated and are_counted):
            log.info("no secret ends early: usage is not complete, or this is the first look")
            return 0
        ended = 0
        async for record in self._records():
            if ended == MAX_A_ROUND:
                log.warning("%d secrets ended early; more wait for the next round", ended)
                break
            ended += await self._retire(record)
        return ended

    async def _are_dated(self) -> bool:
        """Return whether no request was misdated since the last round. Remember when one was."""
        before, self._misdated = self._misdated, await self._usage.misdated()
        if before is None or self._misdated <= before:
            return True
        self._unsure_at = self._clock.wall_ms()
        return False

    async def _are_counted(self) -> bool:
        """Return whether the requests have their entries: all, and those since earlier rounds.

        False in the first round: nobody knows what was lost before. Remember when it was not so.
        """
        counted, now = await self._usage.completeness(), self._clock.wall_ms()
        is_sure = counted.is_enough and bool(self._counts)
        if not is_sure or any(_has_gap(before, counted) for _, before in self._counts):
            self._unsure_at = now
            self._counts = [(now, counted)]  # what was lost until now is noted
            return False
        self._keep(now, counted)
        return True

    def _keep(self, now: int, counted: Completeness) -> None:
        """Keep a count, and of the others those that are needed: at most MAX_COUNTS, spread evenly.

        The oldest is the last one from before the longest `retire_after`.
        """
        kept = [*self._counts, (now, counted)]
        while len(kept) > 2 and kept[1][0] <= now - self._longest:  # noqa: PLR2004
            del kept[0]
        if len(kept) > MAX_COUNTS:
            inner = range(1, len(kept) - 1)
            del kept[min(inner, key=lambda at: kept[at + 1][0] - kept[at - 1][0])]
        self._counts = kept

    async def _retire(self, record: KeyRecord) -> bool:
        now = self._clock.wall_ms()
        policy = self._policies.of(record, now)
        live = [one for one in record.secrets if one.is_live(now)]
        if policy is None or policy.retire_after_ms is None or len(live) < 2:  # noqa: PLR2004
            return False
        if now - self._unsure_at < policy.retire_after_ms:
            return False
        try:
            facts = await self._usage.facts(record.kid)
        except Unreadable as cause:
            log.warning("the old secret of %s does not end early: %s", record.kid, cause)
            return False
        used = {name: (sight.at + 1) * 1000 for name, (sight, _) in facts.secrets.items()}
        note = "only the new secret was used"
        author = self._lifecycle.author(f"rotation@{self._writer}", note)

        def plan(current: KeyRecord, now: int) -> Outcome:
            secret = policy.unused(current, used, now)
            if secret is None or current.secrets != record.secrets:
                return Unchanged(current, "it is used, or was changed")
            return secret_changes.retire(current, secret.id, author, now)

        if not isinstance(plan(record, self._clock.wall_ms()), KeyChange):
            return False
        try:
            return isinstance(await self._lifecycle.change(record.kid, plan), Changed)
        except (NotFound, Unreadable, OutcomeUnknown):
            return False


def _has_gap(before: Completeness, now: Completeness) -> bool:
    """Return whether more than 1 % of the requests between two rounds have no entry."""
    issued, lost = now.since(before)
    return lost > UNDER_WAY and lost * MOST_MISSING > issued
