"""KeyRotation: the life of signing keys, by the clock alone."""

import pytest

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


class Rig:
    """A rotation whose keys are called k1, k2 and so on."""

    def __init__(self, *versions):
        self.clock, self.store, self.made = FakeClock(), Store(), 0
        self.entries = make_keyring("ak", *versions, issuer=ISSUER).signing_entries
        self.rotation = KeyRotation(self.store, self.store, self.entries, self._make, self.clock)

    def _make(self, created_at, signs_from):
        self.made += 1
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
    first = await rig.rotation.rotate()
    assert first.signs_from == NOW + AT_ONCE_MS
    assert await rig.states() == {"k1": NEXT}
    rig.clock.jump_wall(AT_ONCE_MS)
    assert await rig.states() == {"k1": SIGNS}

    second = await rig.rotation.rotate()
    assert second.signs_from == NOW + AT_ONCE_MS + AHEAD_MS
    assert await rig.states() == {"k1": SIGNS, "k2": NEXT}
    rig.clock.jump_wall(AHEAD_MS)
    assert await rig.states() == {"k1": VERIFIES, "k2": SIGNS}
    rig.clock.jump_wall(KEPT_MS - 1)
    assert await rig.states() == {"k1": VERIFIES, "k2": SIGNS}
    rig.clock.jump_wall(1)
    assert await rig.states() == {"k1": EXPIRED, "k2": SIGNS}

    await rig.rotation.rotate()
    assert await rig.states() == {"k2": SIGNS, "k3": NEXT}
    assert rig.store.private.keys() == {"k2", "k3"}


async def test_in_an_emergency_a_key_signs_at_once(rig):
    """With `at_once` the new key signs after 2 s, and a removed key is gone with both halves."""
    await rig.rotation.rotate()
    rig.clock.jump_wall(AT_ONCE_MS)
    await rig.rotation.rotate(at_once=True)
    rig.clock.jump_wall(AT_ONCE_MS)
    assert await rig.states() == {"k1": VERIFIES, "k2": SIGNS}

    await rig.rotation.remove("k1")
    assert await rig.states() == {"k2": SIGNS}
    assert rig.store.private.keys() == {"k2"}
    with pytest.raises(NotFound):
        await rig.rotation.remove("k1")


async def test_unreadable_keys_are_listed_and_can_be_removed(rig):
    """An entry of a lost pepper neither signs nor blocks: the next key signs at once."""
    rig.store.public["old"] = "2:1:1:AA:AA:AA"
    assert await rig.states() == {"old": UNREADABLE}

    key = await rig.rotation.rotate()
    assert key.signs_from == NOW + AT_ONCE_MS
    await rig.rotation.remove("old")
    assert await rig.states() == {"k1": NEXT}
