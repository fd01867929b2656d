"""RollingBack: a person undoes a rotation, but a leaked secret does not come back."""

from dataclasses import replace

import pytest

from authz.core.begun_delivery import BegunDelivery
from authz.core.changes import Refused
from authz.core.errors import Conflict
from authz.flows.conditions import Conditions
from authz.flows.lifecycle import Changed
from authz.flows.rolling_back import MAX_ENTRIES, RollingBack
from tests.support.fakes import DAY
from tests.support.flows.rigs import KEYRING, SPEC, LifecycleRig
from tests.support.flows.rotations import MemoryDeliveries, MemoryTrail


class Rig(LifecycleRig):
    """A key with two secrets, whose rotation has an author."""

    def __init__(self):
        super().__init__()
        self.trail = MemoryTrail(self.store)
        self.pending = MemoryDeliveries()
        self.rolling_back = RollingBack(self.keys, self.trail, self.pending)

    async def rotated(self, actor):
        """Issue a key, rotate it as an actor, change it, and return its first text and its kid."""
        issued = await self.keys.issue(SPEC, self.author())
        kid = issued.record.kid
        await self.keys.rotate(kid, DAY, replace(self.author(), actor=actor))
        await self.keys.disable(kid, self.author())
        await self.keys.enable(kid, self.author())
        return issued.key_text, kid


@pytest.fixture
def rig():
    """An empty store."""
    return Rig()


async def test_a_rotation_is_undone(rig):
    """The old secret works without an end."""
    old, kid = await rig.rotated("alice")
    assert isinstance(await rig.rolling_back.roll_back(kid, rig.author()), Changed)
    rig.clock.advance(2 * DAY / 1000)
    assert rig.opens(old)


async def test_a_leaked_secret_does_not_come_back(rig):
    """The command says so, and names the way to a third secret. A dry run says the same."""
    old, kid = await rig.rotated("leaks/github")
    for conditions in (Conditions(), Conditions(dry_run=True)):
        refused = await rig.rolling_back.roll_back(kid, rig.author(), conditions)
        assert isinstance(refused, Refused)
        assert "reported as leaked" in refused.why
        assert f"authz keys rotate {kid} --grace 0" in refused.why
    rig.clock.advance(DAY / 1000)
    assert not rig.opens(old)
    refused = await rig.rolling_back.roll_back(kid, rig.author())
    assert "its overlap is over" in refused.why


async def test_a_later_rotation_of_a_person_is_undone(rig):
    """The leaked secret has ended. The rotation after it is an ordinary one."""
    _, kid = await rig.rotated("leaks/github")
    rig.clock.advance(DAY / 1000)
    await rig.keys.rotate(kid, DAY, rig.author())
    assert isinstance(await rig.rolling_back.roll_back(kid, rig.author()), Changed)


@pytest.mark.parametrize("lack", ["is_garbled", "is_trimmed"])
async def test_the_trail_does_not_tell(rig, lack):
    """An entry that is missing or garbled does not stop a person."""
    _, kid = await rig.rotated("leaks/github")
    setattr(rig.trail, lack, True)
    assert isinstance(await rig.rolling_back.roll_back(kid, rig.author()), Changed)


@pytest.mark.parametrize("lack", ["is_garbled", "is_trimmed", ""])
async def test_the_delivery_of_a_leaked_secret_is_pending(rig, lack):
    """Its entry says what the trail does not, also after many changes of the key."""
    _, kid = await rig.rotated("leaks/github")
    seed, by = KEYRING.new_seed(), ("leaks/github", "leaked")
    entry = BegunDelivery("vault", DAY, rig.clock.wall_ms(), 1, seed, *by, is_leaked=True)
    await rig.pending.begin(kid, entry.text())
    if lack:
        setattr(rig.trail, lack, True)
    for _ in range(MAX_ENTRIES // 2):
        await rig.keys.disable(kid, rig.author())
        await rig.keys.enable(kid, rig.author())
    refused = await rig.rolling_back.roll_back(kid, rig.author())
    assert "reported as leaked" in refused.why


async def test_too_many_changes_since_the_rotation(rig):
    """Nobody has read who rotated the key, so nothing is undone."""
    _, kid = await rig.rotated("alice")
    for _ in range(MAX_ENTRIES // 2 - 2):
        await rig.keys.disable(kid, rig.author())
        await rig.keys.enable(kid, rig.author())
    dry = Conditions(dry_run=True)
    assert isinstance(await rig.rolling_back.roll_back(kid, rig.author(), dry), Changed)
    await rig.keys.disable(kid, rig.author())
    await rig.keys.enable(kid, rig.author())
    refused = await rig.rolling_back.roll_back(kid, rig.author())
    assert f"{MAX_ENTRIES} changes or more since its rotation" in refused.why
    assert f"authz keys rotate {kid} --grace 0" in refused.why


async def test_the_key_is_rotated_meanwhile(rig, monkeypatch):
    """A rotation that was not looked at is not undone."""
    _, kid = await rig.rotated("alice")
    entry = rig.trail.entry

    async def rotate_first(*given):
        monkeypatch.setattr(rig.trail, "entry", entry)
        await rig.keys.rotate(kid, 0, rig.author())
        await rig.keys.rotate(kid, DAY, replace(rig.author(), actor="leaks/github"))
        return await entry(*given)

    monkeypatch.setattr(rig.trail, "entry", rotate_first)
    refused = await rig.rolling_back.roll_back(kid, rig.author())
    assert "changed meanwhile" in refused.why


async def test_another_version(rig):
    """The key must have the version that the caller saw."""
    _, kid = await rig.rotated("alice")
    with pytest.raises(Conflict):
        await rig.rolling_back.roll_back(kid, rig.author(), Conditions(version=1))
