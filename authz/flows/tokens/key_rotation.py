"""KeyRotation: makes, lists and removes the keys that sign tokens."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

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
from authz.flows.tokens.ports import SigningKeyChanges, SigningKeyStore

NEXT: Final = "next"
SIGNS: Final = "signs"
VERIFIES: Final = "verifies"
EXPIRED: Final = "expired"
UNREADABLE: Final = "unreadable"


@dataclass(frozen=True, slots=True)
class KeyState:
    """A signing key and its state: NEXT, SIGNS, VERIFIES, EXPIRED or UNREADABLE.

    key: None if its entry is unreadable. until: when it stops to verify, in ms; None: no end yet.
    """

    key_id: str
    key: SigningKey | None
    state: str
    until: int | None = None


MakeKey = Callable[[int, int], tuple[SigningKey, str]]
"""Makes a key, given when it is created and when it signs (ms). Returns it and its sealed half."""


class KeyRotation:
    """Changes the signing keys of one installation. make: makes a new key."""

    def __init__(
        self,
        store: SigningKeyStore,
        changes: SigningKeyChanges,
        entries: SigningKeyEntries,
        make: MakeKey,
        clock: Clock,
    ) -> None:
        self._store = store
        self._changes = changes
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
            found.append(KeyState(key.key_id, key, state, until.get(key.key_id)))
        known = {key.key_id for key in keys}
        rest = sorted(entries.keys() - known)
        return [*found, *(KeyState(key_id, None, UNREADABLE) for key_id in rest)]

    async def rotate(self, *, at_once: bool = False) -> SigningKey:
        """Make a key and return it. Remove those that have expired.

        It signs AHEAD_MS (15 min) from now on. If no key signs, or `at_once`, it signs AT_ONCE_MS
        (2 s) from now on. A key that was published to sign later still follows it. Raises
        Unavailable.
        """
        states, now = await self.list(), self._clock.wall_ms()
        is_first = not any(one.state == SIGNS for one in states)
        key, private_half = self._make(now, now + (AT_ONCE_MS if at_once or is_first else AHEAD_MS))
        await self._changes.add(key.key_id, self._entries.write(key), private_half)
        for one in states:
            if one.state == EXPIRED:
                await self._changes.remove(one.key_id)
        return key

    async def remove(self, key_id: str) -> None:
        """Remove a key: its tokens end within the trust lease. Raises NotFound, Unavailable."""
        if not await self._changes.remove(key_id):
            raise NotFound(f"no signing key has the id {key_id}")
