"""KeyRotation: makes, lists and removes the keys that sign tokens."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from authz.core.audit import Action
from authz.core.changes import Author
from authz.core.errors import NotFound
from authz.core.ports import Clock
from authz.core.tokens.signing_keys import (
    AHEAD_MS,
    AT_ONCE_MS,
    SigningKey,
    SigningKeyEntries,
    ends,
    signer,
    verifying,
)
from authz.core.trail.installation import SIGNING_KEY
from authz.core.trail.notes import note_event
from authz.core.trail.ports import TrailNotes
from authz.flows.tokens.ports import SigningKeyChanges, SigningKeyStore

NEXT: Final = "next"
SIGNS: Final = "signs"
VERIFIES: Final = "verifies"
EXPIRED: Final = "expired"
UNREADABLE: Final = "unreadable"


@dataclass(frozen=True, slots=True)
class KeyState:
    """A signing key and its state: NEXT, SIGNS, VERIFIES, EXPIRED or UNREADABLE.

    Times are in ms since the epoch. They are None, and the pepper is empty, if its entry is
    unreadable. until: when it stops to verify; None: not known yet.
    """

    key_id: str
    state: str
    created_at: int | None = None
    signs_from: int | None = None
    until: int | None = None
    pepper: str = ""


MakeKey = Callable[[str, int, int], tuple[SigningKey, str]]
"""Makes a key, given its change id, and when it is created and signs (ms).

Returns it and its sealed half. The same change id gives the same key id.
"""


class KeyRotation:
    """Changes the signing keys of one installation. make: makes a new key.

    The audit trail is told first, so no key is made or removed without a row.
    """

    def __init__(
        self,
        store: SigningKeyStore,
        changes: SigningKeyChanges,
        entries: SigningKeyEntries,
        make: MakeKey,
        *,
        notes: TrailNotes,
        clock: Clock,
    ) -> None:
        self._store = store
        self._changes = changes
        self._notes = notes
        self._entries = entries
        self._make = make
        self._clock = clock

    async def list(self) -> list[KeyState]:
        """Return all keys with their state now, in the order in which they sign.

        Unreadable ones are last. Raises Unavailable.
        """
        entries, now = await self._store.entries(), self._clock.wall_ms()
        keys = self._entries.read_all(entries)
        signing, until = signer(keys, now), ends(keys)
        alive = verifying(keys, now)
        found = []
        for key in keys:
            state = VERIFIES if key in alive else EXPIRED
            if key.signs_from > now:
                state = NEXT
            elif key is signing:
                state = SIGNS
            found.append(_state(key, state, until.get(key.key_id)))
        known = {key.key_id for key in keys}
        rest = sorted(entries.keys() - known)
        return [*found, *(KeyState(key_id, UNREADABLE) for key_id in rest)]

    async def rotate(self, author: Author, *, at_once: bool = False) -> KeyState:
        """Make a key and return it. Remove those that have expired.

        It signs AHEAD_MS (15 min) from now on. If no key signs, or `at_once`, it signs AT_ONCE_MS
        (2 s) from now on. A key that was published to sign later still follows it. A repetition
        with the same change id returns the key of the first try. Raises Unavailable.
        """
        states, now = await self.list(), self._clock.wall_ms()
        is_first = not any(one.state == SIGNS for one in states)
        signs_from = now + (AT_ONCE_MS if at_once or is_first else AHEAD_MS)
        key, private_half = self._make(author.change_id, now, signs_from)
        made_before = next((one for one in states if one.key_id == key.key_id), None)
        if made_before is not None:
            return made_before
        expired = [one.key_id for one in states if one.state == EXPIRED]
        detail: dict[str, object] = {"signs_from": signs_from}
        if expired:
            detail["removed"] = expired
        await self._note(Action.ROTATE_SIGNING_KEY, key.key_id, author, detail)
        await self._changes.add(key.key_id, self._entries.write(key), private_half)
        for key_id in expired:
            await self._changes.remove(key_id)
        return _state(key, NEXT, None)

    async def remove(self, key_id: str, author: Author, *, dry_run: bool = False) -> None:
        """Remove a key: its tokens end within the trust lease. Raises NotFound, Unavailable."""
        if key_id not in await self._store.entries():
            raise NotFound(f"no signing key has the id {key_id}")
        if not dry_run:
            await self._note(Action.REMOVE_SIGNING_KEY, key_id, author, {})
            await self._changes.remove(key_id)

    async def _note(
        self, action: Action, key_id: str, author: Author, detail: dict[str, object]
    ) -> None:
        detail = {SIGNING_KEY: key_id, **detail}
        event = note_event(action, author, self._clock.wall_ms(), detail)
        await self._notes.append(event, author.change_id)


def _state(key: SigningKey, state: str, until: int | None) -> KeyState:
    return KeyState(key.key_id, state, key.created_at, key.signs_from, until, key.pepper)
