"""OldSecrets: changes the old secret of a rotation when the state of its delivery is known."""

from dataclasses import replace

from authz.core import secret_changes
from authz.core.begun_delivery import BegunDelivery, Claim
from authz.core.changes import Author, Outcome, Refused, Unchanged
from authz.core.delivery import Arrival
from authz.core.errors import NotFound
from authz.core.records import KeyRecord
from authz.flows.delivery_entries import change_entry, forget
from authz.flows.delivery_ports import PendingDeliveries
from authz.flows.lifecycle import Changed, Lifecycle


class OldSecrets:
    """Changes old secrets. Methods raise NotFound, and Unavailable if the store fails."""

    def __init__(self, lifecycle: Lifecycle, pending: PendingDeliveries) -> None:
        self._lifecycle = lifecycle
        self._pending = pending

    async def leave_undecided(
        self, record: KeyRecord, entry: BegunDelivery, author: Author, why: str
    ) -> KeyRecord:
        """Say once that a person has to decide, and return the record.

        The old secret works without an end from then on, unless it is leaked. record: from before
        the try.
        """
        if entry.is_told:
            return record
        if entry.is_leaked and (await self._pending.all()).get(record.kid) != entry.stored:
            return record  # another process has told it, or has settled the delivery
        note = f"unknown for 24 h whether {entry.target} has it: {why or 'not tried'}"
        by = self._lifecycle.author(author.actor, _line(note), source=author.source)

        def plan(current: KeyRecord, now: int) -> Outcome:
            if current.secrets != record.secrets:  # another process has settled it, or a person
                return Unchanged(current, "the secrets were changed meanwhile")
            if entry.is_leaked:
                return secret_changes.tell_undecided(current, entry.target, by, now)
            if not entry.is_held(current, now):
                return Unchanged(current, "the overlap was changed meanwhile")
            return secret_changes.hold(current, entry.target, by, now)

        result = await self._lifecycle.change(record.kid, plan)
        if entry.is_leaked and not isinstance(result, Unchanged):
            # Its record does not show that the event was made.
            await change_entry(self._pending, record.kid, replace(entry, is_told=True))
        return result.record if isinstance(result, Changed | Unchanged) else record

    async def conclude(
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
        await forget(self._pending, kid, entry)
        return result.record if isinstance(result, Changed | Unchanged) else record

    async def end_leaked(
        self, kid: str, entry: BegunDelivery, author: Author, *, is_added: bool
    ) -> BegunDelivery | None:
        """End a leaked secret as its report promised, if somebody else has rotated the key.

        An event says so in any case, and so no roll-back brings the secret back. is_added: whether
        the key has got the secret of this delivery. If it has not, and the leaked secret works
        alone again, return the entry with which its rotation begins again.
        """
        if not entry.is_leaked:
            return None
        newest = entry.newest

        def plan(current: KeyRecord, now: int) -> Outcome:
            nonlocal newest
            newest = entry.newest
            live = [one for one in current.secrets if one.is_live(now)]
            if not live or int(live[0].id) > entry.newest:
                return Unchanged(current, "the leaked secret works no more")
            if len(live) == 1 and not is_added:
                newest = int(current.last.id)
                return Unchanged(current, "the leaked secret works alone")
            by = entry.began_at + entry.held_ms
            outcome = secret_changes.end_old(current, by, author, now)
            if isinstance(outcome, Unchanged):
                return secret_changes.tell_end(current, live[0].id, max(by, now), author, now)
            return outcome

        await self._lifecycle.change(kid, plan)
        if newest == entry.newest:
            return None
        return replace(entry, newest=newest, claim=Claim.NONE)

    async def tell_leaked(self, kid: str, secret: str, by: int, author: Author) -> bool:
        """Have an event say that a leaked secret ends at `by` (ms) at the latest.

        So no roll-back brings it back. Return False if it ends later, or not at all.
        """
        try:
            result = await self._lifecycle.change(
                kid, lambda record, now: secret_changes.tell_end(record, secret, by, author, now)
            )
        except NotFound:  # its key was deleted meanwhile
            return True
        return not isinstance(result, Refused)


def _line(text: str) -> str:
    return "".join(one if one.isprintable() else " " for one in text)[:250]
