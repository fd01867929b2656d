"""Lifecycle: what every door calls to look at a key or to change it."""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from authz.core import changes
from authz.core.changes import Author, KeyChange, KeySpec, Outcome, Refused, Unchanged
from authz.core.errors import Conflict, NotFound, OutcomeUnknown, Unavailable
from authz.core.keys.keyring import Keyring
from authz.core.ports import Clock, KeyStore, LimitCounters
from authz.core.records import KeyRecord, RevocationReason, Status
from authz.core.updates import Updates

MAX_CONFLICTS: Final = 16
MAX_CONFIRMATIONS: Final = 3
CONFIRMATION_PAUSE: Final = 0.2  # seconds


@dataclass(frozen=True, slots=True)
class Changed:
    """The change is in the store. `key_text` is set when a secret was made; show it once.

    replicas: how many have the change, on a store that has some: one is enough for a failover.
    """

    record: KeyRecord
    key_text: str | None = None
    replicas: int | None = None

    def __repr__(self) -> str:
        return f"Changed(kid={self.record.kid!r}, version={self.record.version})"


Result = Changed | Unchanged | Refused


class Lifecycle:
    """Issue, show, update, rotate, revoke, disable, enable, reset limits.

    Every change is made on the record as it is now: if somebody else was faster, it is made again
    on fresh state. When an answer is lost the same change is sent again, which is safe, until the
    store has confirmed it or the tries are used up (OutcomeUnknown). counters: of limits; without
    them there is nothing to reset.
    """

    def __init__(
        self,
        store: KeyStore,
        keyring: Keyring,
        clock: Clock,
        counters: LimitCounters | None = None,
    ) -> None:
        self._store = store
        self._counters = counters
        self._keyring = keyring
        self._clock = clock

    def author(self, actor: str, note: str = "") -> Author:
        """Who asks, with a fresh change id."""
        return Author(secrets.token_hex(16), actor, note)

    async def issue(self, spec: KeySpec, author: Author) -> Changed:
        """Make a key. Raises BadInput, Unavailable."""
        minted = self._keyring.mint(spec.env)
        change = changes.issue(spec, minted, author, self._clock.wall_ms())
        try:
            changed = await self._confirm(change)
        except Conflict:  # it is there: its answer was lost, and somebody has changed it since
            changed = Changed(await self.show(minted.kid))
        return replace(changed, key_text=minted.text)

    async def show(self, kid: str) -> KeyRecord:
        """The record. Raises NotFound, Unavailable."""
        record = await self._store.find(kid)
        if record is None:
            raise NotFound(f"no key has the kid {kid}")
        return record

    async def update(
        self,
        kid: str,
        wanted: Updates,
        author: Author,
        *,
        add_scopes: frozenset[str] = frozenset(),
        remove_scopes: frozenset[str] = frozenset(),
    ) -> Result:
        """Give some fields other values. Raises BadInput, NotFound, Unavailable."""

        def plan(record: KeyRecord, now: int) -> Outcome:
            return changes.update(
                record, wanted, author, now, add_scopes=add_scopes, remove_scopes=remove_scopes
            )

        return await self._change(kid, plan)

    async def rotate(self, kid: str, grace_ms: int, author: Author) -> Changed | Refused:
        """Give a key a second secret. Raises NotFound, Unavailable."""
        minted = self._keyring.mint((await self.show(kid)).env, kid)
        result = await self._change(
            kid, lambda record, now: changes.rotate(record, minted, grace_ms, author, now)
        )
        # Unchanged: an earlier try whose answer was lost did it, with this secret.
        if isinstance(result, Unchanged):
            result = Changed(result.record)
        return result if isinstance(result, Refused) else replace(result, key_text=minted.text)

    async def revoke(self, kid: str, reason: RevocationReason, author: Author) -> Result:
        """End a key. Raises NotFound, Unavailable."""
        return await self._change(
            kid, lambda record, now: changes.revoke(record, reason, author, now)
        )

    async def disable(self, kid: str, author: Author) -> Result:
        """Stop a key for a while. Raises NotFound, Unavailable."""
        return await self._change(kid, lambda record, now: changes.disable(record, author, now))

    async def enable(self, kid: str, author: Author) -> Result:
        """Let a disabled key work again. Raises NotFound, Unavailable."""
        return await self._change(kid, lambda record, now: changes.enable(record, author, now))

    async def reset_limits(self, kid: str, author: Author) -> Result:
        """Forget what a key used of its limits. Raises NotFound, Unavailable.

        First where it is counted, then at the sidecars: one that refuses by what it was told looks
        again when it hears of the change. A lease from before may still be spent by then.
        """
        if self._counters and (await self.show(kid)).status is not Status.REVOKED:
            await self._counters.reset(kid)
        return await self._change(
            kid, lambda record, now: changes.reset_limits(record, author, now)
        )

    async def _change(self, kid: str, plan: Callable[[KeyRecord, int], Outcome]) -> Result:
        for _ in range(MAX_CONFLICTS):
            outcome = plan(await self.show(kid), self._clock.wall_ms())
            if not isinstance(outcome, KeyChange):
                return outcome
            try:
                return await self._confirm(outcome)
            except Conflict:
                continue
        raise Unavailable(f"{kid} is being changed by others without a pause; try again")

    async def _confirm(self, change: KeyChange) -> Changed:
        unknown: OutcomeUnknown | None = None
        for _ in range(MAX_CONFIRMATIONS):
            if unknown is not None:
                await asyncio.sleep(CONFIRMATION_PAUSE)
            try:
                return await self._apply(change)
            except OutcomeUnknown as fault:
                unknown = fault
            except Unavailable:
                if unknown is None:  # nothing was ever sent
                    raise
        raise unknown or OutcomeUnknown("the store did not confirm the change")

    async def _apply(self, change: KeyChange) -> Changed:
        version = await self._store.apply(change)
        replicas = await self._store.replicas(change, version)
        return Changed(replace(change.record, version=version), replicas=replicas)
