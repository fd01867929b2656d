"""BlockedClients: ends blocks and allows networks, and tells the audit trail."""

from collections.abc import Sequence

from authz.core.abuse import MAX_ALLOWED, AbuseState, AbuseStore, network_of
from authz.core.audit import Action
from authz.core.changes import Author
from authz.core.errors import BadInput
from authz.core.ports import Clock
from authz.core.trail.installation import CLIENTS, COUNT, MOST_LISTED, NETWORK
from authz.core.trail.notes import note_event
from authz.core.trail.ports import TrailNotes


class BlockedClients:
    """An AbuseControl over the store.

    The trail is told first, so nothing is changed without a row. Methods raise Unavailable: then a
    row may be there, and the change is not made.
    """

    def __init__(self, store: AbuseStore, notes: TrailNotes, clock: Clock) -> None:
        self._store = store
        self._notes = notes
        self._clock = clock

    async def read(self) -> AbuseState:
        """Return the clients that are blocked now, and the allowed networks."""
        return await self._store.read()

    async def clear(self, clients: Sequence[str], author: Author, *, dry_run: bool = False) -> int:
        """Implement AbuseControl.clear. dry_run: only count."""
        wanted = frozenset(clients)
        blocked = (await self._store.read()).blocked
        ended = sorted(one for one in blocked if not wanted or one in wanted)
        if ended and not dry_run:
            detail = {CLIENTS: ended[:MOST_LISTED], COUNT: len(ended)}
            await self._note(Action.CLEAR_BLOCKED_CLIENTS, author, detail)
            await self._store.unblock(ended)
        return len(ended)

    async def allow(
        self, network: str, author: Author, *, remove: bool = False, dry_run: bool = False
    ) -> bool:
        """Implement AbuseControl.allow. dry_run: only check."""
        text = str(network_of("network", network))
        known = (await self._store.read()).allowed
        if (text in known) is not remove:
            return False
        if not remove and len(known) >= MAX_ALLOWED:
            raise BadInput("network", f"at most {MAX_ALLOWED} networks are allowed")
        if not dry_run:
            action = Action.FORBID_NETWORK if remove else Action.ALLOW_NETWORK
            await self._note(action, author, {NETWORK: text})
            await self._store.allow(text, None if remove else author.actor)
        return True

    async def _note(self, action: Action, author: Author, detail: dict[str, object]) -> None:
        event = note_event(action, author, self._clock.wall_ms(), detail)
        await self._notes.append(event, author.change_id)
