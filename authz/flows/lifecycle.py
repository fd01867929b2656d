"""Lifecycle: reads and changes one key. The CLI and the admin APIs all call it."""

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from authz.core import changes, secret_changes
from authz.core.admin_ports import KeyStore
from authz.core.changes import Author, KeyChange, Outcome, Refused, Unchanged
from authz.core.errors import Conflict, LateConflict, NotFound, OutcomeUnknown, Unavailable
from authz.core.keys.keyring import Keyring
from authz.core.keys.minting import mint, mint_again, mint_secret
from authz.core.limits.credits import CreditsChange
from authz.core.limits.ports import LimitCounters
from authz.core.ports import Clock
from authz.core.records import MAX_LINEAGE, KeyRecord, RevocationReason, Status
from authz.core.updates import Updates
from authz.flows.conditions import ANY, Conditions
from authz.flows.resending import until_confirmed
from authz.flows.revocable import RevocableKeys

if TYPE_CHECKING:
    from authz.core.keys.credentials import Minted
    from authz.core.new_keys import KeySpec
    from authz.flows.repeatable import Attempt

MAX_CONFLICTS: Final = 16  # tries on fresh records before a change is given up


@dataclass(frozen=True, slots=True)
class Changed:
    """The change is in the store; after a dry run it is not, and `record` is as it would be.

    key_text: of a new secret, to be shown once. replicas: how many have the change; with one it
    survives a failover. None: there is no replica, nothing was written, or a reply was lost.
    """

    record: KeyRecord
    key_text: str | None = None
    replicas: int | None = None

    def __repr__(self) -> str:
        return f"Changed(kid={self.record.kid!r}, version={self.record.version})"


Result = Changed | Unchanged | Refused


class Lifecycle:
    """Issue, show, update, rotate, retire, revoke, disable, enable, reset limits.

    Every change is planned on the current record. If another change was faster, it is planned again
    on the new record, MAX_CONFLICTS (16) times in all; then Unavailable is raised. If a reply is
    lost, the same change is sent again, which is safe; after the last try OutcomeUnknown is raised.
    It is also raised if the record was changed by others since, and the change adds credits.
    Methods raise NotFound if no key has the kid, and Unavailable if the store cannot be reached.
    `conditions` are checked on each record that a change is planned on; with a `dry_run` the result
    is the record as it would be. Methods then also raise Conflict, and what the guard raises.
    counters: makes the counters of limits, for `reset_limits`; None: none are reset.
    """

    def __init__(
        self,
        store: KeyStore,
        keyring: Keyring,
        clock: Clock,
        counters: Callable[[], LimitCounters] | None = None,
    ) -> None:
        self._store = store
        self._counters = counters
        self._keyring = keyring
        self._clock = clock

    def author(
        self, actor: str, note: str = "", *, source: str = "", request_id: str = ""
    ) -> Author:
        """Return an author with a new random change id."""
        return Author(secrets.token_hex(16), actor, note, source, request_id)

    def rehearse_issue(self, spec: "KeySpec", author: Author) -> KeyRecord:
        """Return the record of the key that `issue` would make now, with another kid.

        Raises BadInput as `issue`. Changes nothing.
        """
        return self._issued(spec, mint(self._keyring, spec), author).record

    async def issue(
        self, spec: "KeySpec", author: Author, attempt: "Attempt | None" = None
    ) -> Changed:
        """Issue a key, and return its record and its text.

        attempt: of a repeatable request; then the record is as the store has it now. Raises
        BadInput if `spec.env` is wrong or the key would expire before it begins; Unavailable if the
        store cannot be reached; OutcomeUnknown if the replies to all tries are lost.
        """
        if attempt is not None:
            return await self._issue_repeatably(spec, author, attempt)
        minted = mint(self._keyring, spec)
        change = self._issued(spec, minted, author)
        try:
            changed = await until_confirmed(partial(self._apply, change))
        except Conflict:  # an earlier try wrote the key, and it was changed since
            changed = Changed(await self.show(minted.kid))
        return replace(changed, key_text=minted.text)

    async def _issue_repeatably(
        self, spec: "KeySpec", author: Author, attempt: "Attempt"
    ) -> Changed:
        minted, record, replicas = mint(self._keyring, spec, attempt.seed), None, None
        for one in mint_again(self._keyring, spec, attempt.seed) if attempt.is_repeated else ():
            if record is None and (record := await self._store.find(one.kid)):
                minted = one
        if record is None:
            change = self._issued(spec, minted, author)
            with suppress(Conflict):  # another try wrote the key, and it was changed since
                replicas = (await until_confirmed(partial(self._apply, change))).replicas
            record = await self.show(minted.kid)  # another try may have been faster
        return Changed(record, minted.text, replicas)

    def _issued(self, spec: "KeySpec", minted: "Minted", author: Author) -> KeyChange:
        from authz.core import new_keys  # noqa: PLC0415  most commands issue no key

        return new_keys.issue(spec, minted, author, self._clock.wall_ms())

    async def show(self, kid: str) -> KeyRecord:
        """Return the record. Raises NotFound if no key has the kid.

        Raises Unreadable if the record cannot be read, Unavailable if the store fails.
        """
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
        credits_change: CreditsChange | None = None,
        conditions: Conditions = ANY,
    ) -> Result:
        """Set some fields, add scopes, then remove scopes, then change credits. Other fields stay.

        Returns Unchanged if nothing differs, Refused if the key is revoked or its credits cannot be
        changed like this. Raises BadInput if the key would end before it begins or has too many
        scopes, and NotFound, Unavailable as the class says.
        """

        def plan(record: KeyRecord, now: int) -> Outcome:
            return changes.update(
                record,
                wanted,
                author,
                now,
                add_scopes=add_scopes,
                remove_scopes=remove_scopes,
                credits_change=credits_change,
            )

        return await self.change(kid, plan, conditions)

    async def rotate(
        self,
        kid: str,
        grace_ms: int,
        author: Author,
        attempt: "Attempt | None" = None,
        conditions: Conditions = ANY,
    ) -> Changed | Refused:
        """Add a second secret to a key and return its text. The key gets its whole lifetime again.

        Live secrets work for at most `grace_ms` more, and not after the key expires. With 0, or if
        the key has expired, they stop now. Returns Refused if the key is revoked, or has two live
        secrets and `grace_ms` is not 0. attempt: of a repeatable request; its secret is added once,
        and Refused is returned if later rotations have removed it. After a dry run there is no
        text. Raises NotFound, Unavailable as the class says.
        """
        known = await self.show(kid)
        minted = mint_secret(self._keyring, known, attempt.seed if attempt else None)

        def plan(record: KeyRecord, now: int) -> Outcome:
            outcome = secret_changes.rotate(record, minted, grace_ms, author, now)
            if isinstance(outcome, KeyChange) and attempt is not None and attempt.is_repeated:
                newest = int(record.last.id)
                if newest >= attempt.newest_secret + MAX_LINEAGE:
                    return Refused(f"{kid} was rotated too often since the first request")
            return outcome

        result = await self.change(kid, plan, conditions)
        # Unchanged: an earlier try of this call added this secret, and its reply was lost.
        if isinstance(result, Unchanged):
            result = Changed(result.record)
        if isinstance(result, Refused) or conditions.dry_run:
            return result
        return replace(result, key_text=minted.text)

    async def retire(
        self, kid: str, which: str, author: Author, conditions: Conditions = ANY
    ) -> Result:
        """End one of two live secrets: `old`, `new`, or the number of a secret.

        Returns Unchanged if it is not live, Refused if it is the only live one or unknown, or if
        the key is revoked. Raises NotFound, Unavailable as the class says.
        """
        return await self.change(
            kid, lambda record, now: secret_changes.retire(record, which, author, now), conditions
        )

    async def revoke(
        self,
        kid: str,
        reason: RevocationReason,
        author: Author,
        conditions: Conditions = ANY,
    ) -> Result:
        """Revoke a key, also one with a bad seal. This is final.

        Returns Unchanged if it is revoked already; a record with a bad seal does not count as such.
        Raises NotFound, Unavailable as the class says.
        """
        flow = Lifecycle(RevocableKeys(self._store), self._keyring, self._clock)
        return await flow.change(
            kid, lambda record, now: changes.revoke(record, reason, author, now), conditions
        )

    async def disable(self, kid: str, author: Author, conditions: Conditions = ANY) -> Result:
        """Disable a key until it is enabled.

        Returns Unchanged if it is disabled already, Refused if it is revoked. Raises NotFound,
        Unavailable as the class says.
        """
        return await self.change(
            kid, lambda record, now: changes.disable(record, author, now), conditions
        )

    async def enable(self, kid: str, author: Author, conditions: Conditions = ANY) -> Result:
        """Enable a disabled key. Returns Unchanged if it is active, Refused if it is revoked.

        Raises NotFound, Unavailable as the class says.
        """
        return await self.change(
            kid, lambda record, now: changes.enable(record, author, now), conditions
        )

    async def reset_limits(self, kid: str, author: Author, conditions: Conditions = ANY) -> Result:
        """Set the usage counters of a key to zero, not its credits and those of its pools.

        Returns Refused if the key is revoked. The counters come first, then a change of the record:
        a sidecar that refuses the key asks the store again when it hears of the change. Until then
        it may still spend an older lease. Raises NotFound, Unavailable as the class says.
        """
        record = await self.show(kid)
        conditions.check(record)
        if self._counters and record.status is not Status.REVOKED and not conditions.dry_run:
            await self._counters().reset(kid)
        return await self.change(
            kid, lambda record, now: changes.reset_limits(record, author, now), conditions
        )

    async def change(
        self, kid: str, plan: Callable[[KeyRecord, int], Outcome], conditions: Conditions = ANY
    ) -> Result:
        """Make the change that `plan` returns, or return its Unchanged or Refused.

        plan: gets the record and the time, in ms since the epoch; called again after each conflict.
        Raises NotFound, Unavailable as the class says, and what `plan` raises.
        """
        for _ in range(MAX_CONFLICTS):
            record = await self.show(kid)
            conditions.check(record)
            outcome = plan(record, self._clock.wall_ms())
            if not isinstance(outcome, KeyChange):
                return outcome
            conditions.guard(record, outcome.record)
            if why := self._keyring.partitions.problem_of_move(record, outcome.record):
                return Refused(f"{kid}: {why}")
            if conditions.dry_run:
                return Changed(outcome.record)
            try:
                return await until_confirmed(partial(self._apply, outcome))
            except Conflict as cause:
                if outcome.is_relative and isinstance(cause, LateConflict):
                    problem = f"the store's reply was lost, and {kid} was changed by others since"
                    raise OutcomeUnknown(problem) from None
        raise Unavailable(f"{kid} is being changed by others without a pause; try again")

    async def _apply(self, change: KeyChange) -> Changed:
        version = await self._store.apply(change)
        replicas = await self._store.replicas(change, version)
        return Changed(replace(change.record, version=version), replicas=replicas)
