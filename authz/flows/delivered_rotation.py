"""DeliveredRotation: gives a key a new secret and brings it to its holder.

The old secret never ends before the new one has arrived:

1. The store remembers the delivery: its target, and the seed from which the secret follows. Without
   the pepper the seed says nothing.
2. The key is rotated with an overlap of 30 days, or a longer one that was asked for.
3. The target gets the secret. Then the overlap becomes the one that was asked for, from now on.
4. If the target refuses it at the first try, the rotation is rolled back. If its answer is not
   known, the delivery is pending: `resume` makes the same secret from the seed and delivers it
   again. A refusal then proves nothing, as an earlier try may have arrived. The entry in the store
   says who tries: else one process could roll back what another one delivers.
5. If the result is still unknown after 24 h, the delivery is undecided: if the new secret was used,
   it has arrived. Else `hold` takes the end from the old secret, and both work until somebody ends
   one of them. So no holder loses the secret that it has. A leaked secret is not held: it ends
   after its overlap and these 24 h, whatever has become of the new one.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final

from authz.core import secret_changes
from authz.core.begun_delivery import BegunDelivery, DeliveryState, Trial
from authz.core.changes import Author, Outcome, Refused, Unchanged
from authz.core.delivery import Arrival, Parcel, SecretDelivery, Undelivered
from authz.core.errors import BadInput, Fault, Unavailable, Unreadable
from authz.core.keys.keyring import Keyring
from authz.core.ports import Clock
from authz.core.records import KeyRecord
from authz.flows.conditions import ANY, Conditions
from authz.flows.delivery_ports import PendingDeliveries, Target
from authz.flows.lifecycle import Changed, Lifecycle
from authz.flows.repeatable import Attempt

PAUSES: Final = (1.0, 3.0)  # seconds before the second and the third try of one call

log = logging.getLogger("authz.rotation")


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
        self._sleep = sleep
        self.counts: dict[Arrival, int] = dict.fromkeys(Arrival, 0)

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
        return await self._continue(kid, stored, author, replace(conditions, version=None))

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
        False if another delivery has begun that does not end it, or after which it would work for
        longer.
        """
        entry = replace(self._entry(record, target, overlap_ms, author), is_leaked=is_leaked)
        stored = await self._pending.begin(record.kid, entry.text())
        try:
            begun = BegunDelivery.read(stored)
        except Unreadable:
            return False
        # One that began before the latest rotation ends an earlier secret, not this one.
        return not is_leaked or (begun.is_leaked and begun.newest == entry.newest)

    async def resume(
        self, kid: str, text: str, *, tries_undecided: bool = True
    ) -> SecretDelivery | Refused:
        """Try a delivery again that has begun, once. text: its entry.

        tries_undecided: else an undecided one is not tried: only its key and its usage are read.
        """
        entry = BegunDelivery.read(text)
        author = self._lifecycle.author(entry.actor, entry.note)
        return await self._continue(kid, entry, author, pauses=(), tries_undecided=tries_undecided)

    def _entry(
        self, record: KeyRecord, target: str, overlap_ms: int, author: Author
    ) -> BegunDelivery:
        now, newest = self._clock.wall_ms(), int(record.last.id)
        seed = self._keyring.new_seed()
        return BegunDelivery(target, overlap_ms, now, newest, seed, author.actor, author.note)

    async def pending(self) -> Mapping[str, str]:
        """Return the entries of the deliveries that have begun, by kid."""
        return await self._pending.all()

    async def _continue(
        self,
        kid: str,
        entry: BegunDelivery,
        author: Author,
        conditions: Conditions = ANY,
        *,
        pauses: tuple[float, ...] = PAUSES,
        tries_undecided: bool = True,
    ) -> SecretDelivery | Refused:
        by = replace(author, change_id=self._keyring.change_id(entry.seed))
        attempt = Attempt(entry.seed, is_repeated=True, newest_secret=entry.newest)
        try:
            rotated = await self._lifecycle.rotate(kid, entry.held_ms, by, attempt, conditions)
        except Unavailable:
            raise
        except Fault:  # there is no such key, or the author may not change it
            await self._pending.replace(kid, entry.text(), None)
            raise
        if isinstance(rotated, Refused):
            await self._pending.replace(kid, entry.text(), None)
            return rotated
        record = rotated.record
        state = entry.state(record, self._clock.wall_ms())
        if state is DeliveryState.OVER:
            await self._pending.replace(kid, entry.text(), None)
            return Refused(f"one of the two secrets of {kid} was ended")
        is_undecided = state is DeliveryState.UNDECIDED
        # A process without the target delivers nothing, so it takes no part in the tries.
        is_alone = rotated.is_new or entry.target not in self._targets
        claimed = entry if is_alone else await self._shared(kid, entry)
        if claimed is None:
            return await self._by_another(kid, entry, is_undecided=is_undecided)
        entry, arrival, why = claimed, Arrival.PENDING, ""
        if tries_undecided or not is_undecided:
            parcel = Parcel.of(record, rotated.key_text or "")
            entry, arrival, why = await self._try(entry, parcel, pauses)
        if is_undecided and arrival is Arrival.PENDING:
            if await self._is_used(kid, entry.secret):
                arrival, why = Arrival.DELIVERED, ""
            else:
                record = await self._hold(record, entry, author, why)
        if arrival is not Arrival.PENDING:
            record = await self._settle(record, entry, author, arrival, why)
        return SecretDelivery(record, arrival, why, is_undecided)

    async def _shared(self, kid: str, entry: BegunDelivery) -> BegunDelivery | None:
        """Return the entry once it says that several processes try; None if it has changed."""
        if entry.trial is not Trial.FIRST:
            return entry
        shared = replace(entry, trial=Trial.SHARED)
        is_ours = await self._pending.replace(kid, entry.text(), shared.text())
        return shared if is_ours else None

    async def _by_another(
        self, kid: str, entry: BegunDelivery, *, is_undecided: bool
    ) -> SecretDelivery | Refused:
        """Return what is so now of a delivery that another process has taken."""
        is_over = kid not in await self._pending.all()
        record = await self._lifecycle.show(kid)
        if not is_over:
            return SecretDelivery(record, Arrival.PENDING, "another process tries it", is_undecided)
        new = record.newest_secret
        if new.id != entry.secret or not new.is_live(self._clock.wall_ms()):
            return Refused(f"one of the two secrets of {kid} was ended")
        return SecretDelivery(record, Arrival.DELIVERED)

    async def _try(
        self, entry: BegunDelivery, parcel: Parcel, pauses: tuple[float, ...]
    ) -> tuple[BegunDelivery, Arrival, str]:
        """Deliver a secret. Return the entry as it is then, and the result."""
        if entry.trial is Trial.REFUSED:  # its process ended before the roll-back
            return entry, Arrival.UNDONE, "the target refused it"
        arrival, why = await self._deliver(entry, parcel, pauses)
        if arrival is Arrival.UNDONE:
            refused = replace(entry, trial=Trial.REFUSED)
            if await self._pending.replace(parcel.kid, entry.text(), refused.text()):
                entry = refused
            else:  # another process tries it now, perhaps with success
                arrival = Arrival.PENDING
        self.counts[arrival] += 1
        if arrival is not Arrival.DELIVERED:
            log.warning("the new secret of %s is %s: %s", parcel.kid, arrival.value, why)
        return entry, arrival, why

    async def _deliver(
        self, entry: BegunDelivery, parcel: Parcel, pauses: tuple[float, ...]
    ) -> tuple[Arrival, str]:
        """Deliver a secret. UNDONE: the target refused it, and nothing was tried before."""
        target, is_first = self._targets.get(entry.target), entry.trial is Trial.FIRST
        if target is None:
            return Arrival.PENDING, f"the settings have no target {entry.target}"
        why = ""
        for pause in (0.0, *pauses):
            if pause:
                await self._sleep(pause)
            try:
                await target.deliver(parcel)
            except Undelivered as cause:
                return Arrival.UNDONE if is_first else Arrival.PENDING, str(cause)
            except Unavailable as cause:
                why, is_first = str(cause), False
            else:
                return Arrival.DELIVERED, ""
        return Arrival.PENDING, why

    async def _hold(
        self, record: KeyRecord, entry: BegunDelivery, author: Author, why: str
    ) -> KeyRecord:
        """Take the end from the old secret, once and unless it is leaked, and return the record."""
        if entry.is_leaked:
            return record
        note = f"unknown for 24 h whether {entry.target} has it: {why or 'not tried'}"
        by = self._lifecycle.author(author.actor, _line(note), source=author.source)

        def plan(current: KeyRecord, now: int) -> Outcome:
            if not entry.is_held(current, now):
                return Unchanged(current, "the overlap was changed meanwhile")
            return secret_changes.hold(current, entry.target, by, now)

        result = await self._lifecycle.change(record.kid, plan)
        return result.record if isinstance(result, Changed | Unchanged) else record

    async def _settle(
        self,
        record: KeyRecord,
        entry: BegunDelivery,
        author: Author,
        arrival: Arrival,
        why: str,
    ) -> KeyRecord:
        """Make the change that follows from a delivery, forget it, and return the record."""
        kid = record.kid
        note = f"{arrival.value} to {entry.target}"
        if why:
            note = f"not delivered to {entry.target}: {why}"
        by = self._lifecycle.author(author.actor, _line(note), source=author.source)

        def plan(current: KeyRecord, now: int) -> Outcome:
            if not entry.is_held(current, now):
                return Unchanged(current, "the overlap was changed meanwhile")
            if arrival is Arrival.UNDONE:
                return secret_changes.roll_back(current, by, now)
            return secret_changes.end_old(current, now + entry.overlap_ms, by, now)

        result = await self._lifecycle.change(kid, plan)
        await self._pending.replace(kid, entry.text(), None)
        return result.record if isinstance(result, Changed | Unchanged) else record


def _line(text: str) -> str:
    return "".join(one if one.isprintable() else " " for one in text)[:250]
