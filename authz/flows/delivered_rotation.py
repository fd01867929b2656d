"""DeliveredRotation: gives a key a new secret and brings it to its holder.

The old secret never ends before the new one has arrived, unless the old one is leaked:

1. The store remembers the delivery: its target, and the seed from which the secret follows. Without
   the pepper the seed says nothing.
2. The key is rotated with an overlap of 30 days, or a longer one that was asked for.
3. The target gets the secret. Then the overlap becomes the one that was asked for, from now on.
4. If the target refuses it at the first try, the rotation is rolled back. If its answer is not
   known, the delivery is pending: `resume` makes the same secret from the seed and delivers it
   again. A refusal then proves nothing, as an earlier try may have arrived. Before a process tries,
   it claims the delivery in the store: else it could roll back what another one delivers.
5. If the result is still unknown after 24 h, the delivery is undecided: if the new secret was used,
   it has arrived. Else `hold` takes the end from the old secret, and both work until somebody ends
   one of them. So no holder loses the secret that it has.
6. A leaked secret ends after its overlap and these 24 h at the latest, also if the new one has not
   arrived. Its rotation is never rolled back: if the target refuses the new secret, the delivery is
   pending. After 24 h an event says so.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from authz.core import secret_changes
from authz.core.begun_delivery import BegunDelivery, DeliveryState
from authz.core.changes import Author, Outcome, Refused
from authz.core.delivery import Arrival, Parcel, SecretDelivery
from authz.core.errors import BadInput, Fault, NotFound, Unavailable, Unreadable
from authz.core.keys.keyring import Keyring
from authz.core.keys.minting import mint_secret
from authz.core.ports import Clock
from authz.core.records import KeyRecord
from authz.flows.conditions import ANY, Conditions
from authz.flows.delivery_entries import change_entry, forget, newest_leaked
from authz.flows.delivery_ports import PendingDeliveries, Target
from authz.flows.delivery_tries import PAUSES, DeliveryTries
from authz.flows.lifecycle import Lifecycle
from authz.flows.old_secrets import OldSecrets

log = logging.getLogger("authz.rotation")


@dataclass(frozen=True, slots=True)
class _Rotated:
    """A key with its new secret, the entry, and the parcel with the text of this secret."""

    record: KeyRecord
    entry: BegunDelivery
    parcel: Parcel


class DeliveredRotation:
    """Rotates keys and delivers their secrets. targets: by name.

    is_used: whether a key's secret was used, by kid and number; raises Unavailable.

    Methods raise BadInput for an unknown target, NotFound, and Unavailable if the store fails.
    """

    def __init__(
        self,
        lifecycle: Lifecycle,
        keyring: Keyring,
        pending: PendingDeliveries,
        targets: Mapping[str, Target],
        *,
        is_used: Callable[[str, str], Awaitable[bool]],
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._lifecycle = lifecycle
        self._keyring = keyring
        self._pending = pending
        self._targets = targets
        self._is_used = is_used
        self._clock = clock
        self._tries = DeliveryTries(pending, targets, log, sleep)
        self._old = OldSecrets(lifecycle, pending)

    @property
    def counts(self) -> Mapping[Arrival, int]:
        """How many deliveries were tried, by result."""
        return self._tries.counts

    async def rotate(
        self,
        kid: str,
        target: str,
        overlap_ms: int,
        author: Author,
        conditions: Conditions = ANY,
    ) -> SecretDelivery | Refused:
        """Give a key a new secret and deliver it. Then its old secret works for `overlap_ms` more.

        If a delivery of the key to this target is pending, it is tried again. Returns Refused if
        the key cannot be rotated.
        """
        record = await self._lifecycle.show(kid)
        conditions.check(record)
        if target not in self._targets:
            known = ", ".join(sorted(self._targets)) or "none"
            raise BadInput("--to", f"rotation.targets has no such name; it has {known}")
        entry = self._entry(record, target, overlap_ms, author)
        if conditions.dry_run:
            minted = self._keyring.mint(record.env, kid, public=record.public)
            planned = secret_changes.rotate(record, minted, entry.held_ms, author, entry.began_at)
            return (
                planned if isinstance(planned, Refused) else SecretDelivery(record, Arrival.PENDING)
            )
        stored = BegunDelivery.read(await self._pending.begin(kid, entry.text()))
        if stored.target != target:
            return Refused(f"a delivery of {kid} to {stored.target} is pending; wait for its end")
        if stored.is_leaked:  # the audit trail says who began it: flows/rolling_back.py reads that
            author = self._lifecycle.author(stored.actor, stored.note)
        try:
            rotated = await self._rotate(kid, stored, author, replace(conditions, version=None))
        except Unavailable:
            raise
        except Fault:  # there is no such key, or the author may not change it
            if stored == entry:  # else it is the delivery of somebody else
                await forget(self._pending, kid, stored)
            raise
        if isinstance(rotated, Refused):
            return rotated
        return await self._go_on(rotated, author)

    async def begin(
        self,
        record: KeyRecord,
        target: str,
        overlap_ms: int,
        author: Author,
        *,
        is_leaked: bool = False,
    ) -> bool:
        """Remember that a key shall be rotated, and return. `resume` does it, soon.

        is_leaked: the old secret ends also if nobody knows whether the new one has arrived. Returns
        False if an earlier delivery is pending, and it ends another secret or is not of a leak:
        then the old secret would work for longer.
        """
        entry = replace(self._entry(record, target, overlap_ms, author), is_leaked=is_leaked)
        stored = await self._pending.begin(record.kid, entry.text())
        try:
            begun = BegunDelivery.read(stored)
        except Unreadable:
            return False
        # An entry from before the latest rotation ends an earlier secret.
        return not is_leaked or (begun.is_leaked and begun.newest == entry.newest)

    async def ends(self, kid: str, secret: str) -> bool:
        """Return whether a pending delivery ends this secret because it is leaked.

        secret: its number. Raises Unavailable.
        """
        return int(secret) <= await newest_leaked(self._pending, kid)

    async def tell_leaked(self, kid: str, secret: str, by: int, author: Author) -> bool:
        """Say that a leaked secret ends, as `OldSecrets.tell_leaked`."""
        return await self._old.tell_leaked(kid, secret, by, author)

    async def resume(
        self, kid: str, text: str, *, tries_undecided: bool = True
    ) -> SecretDelivery | Refused:
        """Try a delivery again that has begun, once. text: its entry.

        tries_undecided: else an undecided one is not tried: only its key and its usage are read.
        """
        entry = BegunDelivery.read(text)
        author = self._lifecycle.author(entry.actor, entry.note)
        try:
            rotated = await self._rotate(kid, entry, author)
        except NotFound:
            await forget(self._pending, kid, entry)
            raise
        if isinstance(rotated, Refused):
            return rotated
        return await self._go_on(rotated, author, pauses=(), tries_undecided=tries_undecided)

    def _entry(
        self, record: KeyRecord, target: str, overlap_ms: int, author: Author
    ) -> BegunDelivery:
        now, newest = self._clock.wall_ms(), int(record.last.id)
        seed = self._keyring.new_seed()
        return BegunDelivery(target, overlap_ms, now, newest, seed, author.actor, author.note)

    async def pending(self) -> Mapping[str, str]:
        """Return the entries of the deliveries that have begun, by kid."""
        return await self._pending.all()

    async def _rotate(
        self, kid: str, entry: BegunDelivery, author: Author, conditions: Conditions = ANY
    ) -> _Rotated | Refused:
        """Return the key with its new secret, which is added unless an earlier call did it.

        Refused: one of its secrets was ended, or it cannot be rotated. Then the entry is forgotten.
        A leaked secret that somebody has rotated away and back is rotated with a new entry.
        """
        minted = mint_secret(self._keyring, await self._lifecycle.show(kid), entry.seed)
        by = replace(author, change_id=self._keyring.change_id(entry.seed))

        def plan(current: KeyRecord, now: int) -> Outcome:
            is_ours = any(one.digest == minted.digest for one in current.secrets)
            if not is_ours and int(current.last.id) > entry.newest:
                return Refused(f"{kid} was given another secret since the delivery began")
            return secret_changes.rotate(current, minted, entry.held_ms, by, now)

        result = await self._lifecycle.change(kid, plan, conditions)
        is_added = not isinstance(result, Refused)
        if not isinstance(result, Refused):
            record = result.record
            if entry.state(record, self._clock.wall_ms()) is not DeliveryState.OVER:
                return _Rotated(record, entry, Parcel.of(record, minted.text))
            result = Refused(f"one of the two secrets of {kid} was ended")
        again = await self._old.end_leaked(kid, entry, author, is_added=is_added)
        if again is not None and (stored := await change_entry(self._pending, kid, again)):
            return await self._rotate(kid, stored, author, conditions)
        await forget(self._pending, kid, entry)
        return result

    async def _go_on(
        self,
        rotated: _Rotated,
        author: Author,
        *,
        pauses: tuple[float, ...] = PAUSES,
        tries_undecided: bool = True,
    ) -> SecretDelivery | Refused:
        """Deliver the new secret of a key, and decide what becomes of the old one."""
        record, entry, kid = rotated.record, rotated.entry, rotated.record.kid
        state = entry.state(record, self._clock.wall_ms())
        is_undecided, arrival, why = state is DeliveryState.UNDECIDED, Arrival.PENDING, ""
        if entry.is_to_roll_back:  # its process ended before the roll-back
            arrival, why = Arrival.UNDONE, "the target refused it"
        elif tries_undecided or not is_undecided:
            tried = await self._tries.deliver(kid, entry, rotated.parcel, pauses)
            if tried is None:
                return await self._by_another(kid, entry, is_undecided=is_undecided)
            entry, arrival, why = tried
        if is_undecided and arrival is Arrival.PENDING:
            if await self._is_used(kid, entry.secret):
                arrival, why = Arrival.DELIVERED, ""
            else:
                record = await self._old.leave_undecided(record, entry, author, why)
        if arrival is not Arrival.PENDING:
            record = await self._old.conclude(record, entry, author, arrival, why)
        if arrival is Arrival.DELIVERED and (ended := self._if_ended(record, entry)):
            target = entry.target
            log.warning("%s has a secret of %s that was ended or replaced", target, kid)
            return ended
        return SecretDelivery(record, arrival, why, is_undecided)

    async def _by_another(
        self, kid: str, entry: BegunDelivery, *, is_undecided: bool
    ) -> SecretDelivery | Refused:
        """Return what is so now of a delivery that another process has taken."""
        is_over = kid not in await self._pending.all()
        record = await self._lifecycle.show(kid)
        if not is_over:
            return SecretDelivery(record, Arrival.PENDING, "another process tries it", is_undecided)
        return self._if_ended(record, entry) or SecretDelivery(record, Arrival.DELIVERED)

    def _if_ended(self, record: KeyRecord, entry: BegunDelivery) -> Refused | None:
        """Return Refused if the new secret works no more, or another one replaces it."""
        new = record.newest_secret
        if new.id == entry.secret and new.is_live(self._clock.wall_ms()):
            return None
        return Refused(f"one of the two secrets of {record.kid} was ended")
