"""KeyRotation: the life of signing keys, by the clock alone."""

import secrets

import pytest

from authz.core.changes import Author
from authz.core.errors import NotFound
from authz.core.tokens.signing_keys import AHEAD_MS, AT_ONCE_MS, KEPT_MS
from authz.flows.tokens.key_rotation import (
    EXPIRED,
    NEXT,
    SIGNS,
    UNREADABLE,
    VERIFIES,
    KeyRotation,
)
from tests.support.fakes import NOW, FakeClock, make_keyring
from tests.support.tokens import ISSUER, signing_key


class Store:
    """A SigningKeyStore and SigningKeyChanges in memory. written: what was written, in order."""

    def __init__(self):
        self.public, self.private, self.written = {}, {}, []

    async def entries(self):
        """Implement SigningKeyStore.entries."""
        return dict(self.public)

    async def add(self, key_id, entry, private_half):
        """Implement SigningKeyChanges.add."""
        self.private[key_id], self.public[key_id] = private_half, entry

    async def remove(self, key_id):
        """Implement SigningKeyChanges.remove."""
        self.private.pop(key_id, None)
        return self.public.pop(key_id, None) is not None


class Notes:
    """A TrailNotes in memory. It remembers which keys the store had when a row came."""

    def __init__(self, store):
        self.rows, self._store = [], store

    async def append(self, event, change_id):
        """Implement TrailNotes.append."""
        del change_id
        self.rows.append(
            (event.action.value, event.actor, dict(event.detail), set(self._store.public))
        )


def author(change_id=""):
    """Return an author with a new change id, or this one."""
    return Author(change_id or secrets.token_hex(16), "alice")


class Rig:
    """A rotation whose keys are called k1, k2 and so on."""

    def __init__(self, *versions):
        self.clock, self.store, self.made, self.ids = FakeClock(), Store(), 0, {}
        self.entries = make_keyring("ak", *versions, issuer=ISSUER).signing_entries
        self.notes = Notes(self.store)
        self.rotation = KeyRotation(
            self.store, self.store, self.entries, self._make, notes=self.notes, clock=self.clock
        )

    def _make(self, change_id, created_at, signs_from):
        if change_id in self.ids:
            return signing_key(self.ids[change_id]), "another"
        self.made += 1
        self.ids[change_id] = f"k{self.made}"
        key = signing_key(f"k{self.made}", created_at=created_at, signs_from=signs_from)
        return key, "sealed"

    async def states(self):
        """Return the state of each key by its id."""
        return {one.key_id: one.state for one in await self.rotation.list()}


@pytest.fixture
def rig():
    """Return a rig without a key."""
    return Rig()


async def test_a_rotation_overlaps(rig):
    """Each key is next, signs, verifies and expires, and the next rotation removes it."""
    first = await rig.rotation.rotate(author())
    assert first.signs_from == NOW + AT_ONCE_MS
    assert await rig.states() == {"k1": NEXT}
    rig.clock.jump_wall(AT_ONCE_MS)
    assert await rig.states() == {"k1": SIGNS}

    second = await rig.rotation.rotate(author())
    assert second.signs_from == NOW + AT_ONCE_MS + AHEAD_MS
    assert await rig.states() == {"k1": SIGNS, "k2": NEXT}
    rig.clock.jump_wall(AHEAD_MS)
    assert await rig.states() == {"k1": VERIFIES, "k2": SIGNS}
    rig.clock.jump_wall(KEPT_MS - 1)
    assert await rig.states() == {"k1": VERIFIES, "k2": SIGNS}
    rig.clock.jump_wall(1)
    assert await rig.states() == {"k1": EXPIRED, "k2": SIGNS}

    await rig.rotation.rotate(author())
    assert await rig.states() == {"k2": SIGNS, "k3": NEXT}
    assert rig.store.private.keys() == {"k2", "k3"}


async def test_in_an_emergency_a_key_signs_at_once(rig):
    """With `at_once` the new key signs after 2 s, and a removed key is gone with both halves."""
    await rig.rotation.rotate(author())
    rig.clock.jump_wall(AT_ONCE_MS)
    await rig.rotation.rotate(author(), at_once=True)
    rig.clock.jump_wall(AT_ONCE_MS)
    assert await rig.states() == {"k1": VERIFIES, "k2": SIGNS}

    await rig.rotation.remove("k1", author())
    assert await rig.states() == {"k2": SIGNS}
    assert rig.store.private.keys() == {"k2"}
    with pytest.raises(NotFound):
        await rig.rotation.remove("k1", author())


async def test_unreadable_keys_are_listed_and_can_be_removed(rig):
    """An entry of a lost pepper neither signs nor blocks: the next key signs at once."""
    rig.store.public["old"] = "2:1:1:AA:AA:AA"
    assert await rig.states() == {"old": UNREADABLE}

    key = await rig.rotation.rotate(author())
    assert key.signs_from == NOW + AT_ONCE_MS
    await rig.rotation.remove("old", author())
    assert await rig.states() == {"k1": NEXT}


async def test_the_trail_is_told_first(rig):
    """Each change has a row with its author, written before the change; a refused one has none."""
    await rig.rotation.rotate(author())
    rig.clock.jump_wall(AT_ONCE_MS)
    await rig.rotation.rotate(author(), at_once=True)
    rig.clock.jump_wall(AT_ONCE_MS + KEPT_MS)
    await rig.rotation.rotate(author())
    await rig.rotation.remove("k2", author())
    with pytest.raises(NotFound):
        await rig.rotation.remove("k2", author())
    assert await rig.rotation.remove("k3", author(), dry_run=True) is None

    made = NOW + 2 * AT_ONCE_MS
    later = made + KEPT_MS + AHEAD_MS
    made_again = {"signing_key": "k3", "signs_from": later, "removed": ["k1"]}
    assert rig.notes.rows == [
        (
            "rotate_signing_key",
            "alice",
            {"signing_key": "k1", "signs_from": NOW + AT_ONCE_MS},
            set(),
        ),
        ("rotate_signing_key", "alice", {"signing_key": "k2", "signs_from": made}, {"k1"}),
        ("rotate_signing_key", "alice", made_again, {"k1", "k2"}),
        ("remove_signing_key", "alice", {"signing_key": "k2"}, {"k2", "k3"}),
    ]


async def test_a_repetition_makes_no_second_key(rig):
    """A rotation with the same change id returns the first key, and tells the trail nothing."""
    by = author("11" * 16)
    first = await rig.rotation.rotate(by)
    rig.clock.jump_wall(AT_ONCE_MS)
    again = await rig.rotation.rotate(by)
    assert (again.key_id, again.signs_from) == (first.key_id, first.signs_from)
    assert rig.store.private == {"k1": "sealed"}
    assert len(rig.notes.rows) == 1
