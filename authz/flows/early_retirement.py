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
    until `retire_after` has passed since the last such round, and since the last one with new
    misdated requests or with a gap: more than 1 % of the requests since the round before are
    missing. In all requests of a process an outage of the meter is soon less than 1 %.
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
        self._counted: Completeness | None = None  # at the last round
        self._unsure_at = float("-inf")  # ms since the epoch

    async def look(self) -> int:
        """End the old secrets that nobody needs, at most MAX_A_ROUND (100). Return how many.

        A key whose usage cannot be read is left out. Raises Unavailable if the store fails,
        Unreadable if it cannot be told whether usage is complete.
        """
        are_dated, are_counted = await self._are_dated(), await self._are_counted()
        if not (are_dated and are_counted):
            log.info("no secret ends early: usage is not complete")
            return 0
        ended = 0
        async for record in self._records():
            if ended == MAX_A_ROUND:
                log.warning("%d secrets ended early; more wait for the next round", ended)
                break
            ended += await self._retire(record)
        return ended

    async def _are_dated(self) -> bool:
        """Return whether no request was misdated since the last round; in the first, whether ever.

        Remember when it was.
        """
        before, self._misdated = self._misdated, await self._usage.misdated()
        if self._misdated <= (before or 0):
            return True
        if before is not None:
            self._unsure_at = self._clock.wall_ms()
        return False

    async def _are_counted(self) -> bool:
        """Return whether the requests have their entries: all, and those since the last round.

        Remember when they had not.
        """
        before, self._counted = self._counted, await self._usage.completeness()
        has_gap = before is not None and _has_gap(before, self._counted)
        if has_gap or not self._counted.is_enough:
            self._unsure_at = self._clock.wall_ms()
            return False
        return True

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
    lost, issued = now.missing - before.missing, now.issued - before.issued
    return lost > UNDER_WAY and lost * MOST_MISSING > issued
