"""A reset of what a key used: where it is counted first, then at the sidecars."""

import pytest

from authz.core.audit import Action
from authz.core.changes import Refused
from authz.core.errors import NotFound, Unavailable
from authz.flows.lifecycle import Lifecycle
from tests.support.fakes import KID, NOW
from tests.support.flows.rigs import KEYRING, SPEC, LifecycleRig
from tests.support.limits import MemoryCounters


class Rig(LifecycleRig):
    """A lifecycle with counters that remember which version the key had when they were reset."""

    def __init__(self):
        super().__init__()
        rig = self

        class Counters(MemoryCounters):
            async def reset(self, kid):
                if self.fault:
                    raise self.fault
                self.resets.append((kid, rig.store.records[kid].version))

        self.counters = Counters(NOW)
        self.keys = Lifecycle(self.store, KEYRING, self.clock, lambda: self.counters)


@pytest.fixture
def rig():
    """An empty one."""
    return Rig()


async def test_the_record_stays_and_has_a_newer_version(rig):
    """A reset empties the counters, then makes a new version, and writes an audit entry."""
    kid = (await rig.keys.issue(SPEC, rig.author())).record.kid

    changed = await rig.keys.reset_limits(kid, rig.author())

    assert rig.counters.resets == [(kid, 1)]
    assert changed.record == rig.store.records[kid]
    assert changed.record.version == 2
    assert rig.actions == [Action.ISSUE, Action.RESET_LIMITS]


async def test_a_revoked_key_and_an_unknown_one(rig):
    """For a revoked and for an unknown key nothing is reset and nothing changes."""
    kid = (await rig.keys.issue(SPEC, rig.author())).record.kid
    await rig.revoke(kid)

    assert isinstance(await rig.keys.reset_limits(kid, rig.author()), Refused)
    with pytest.raises(NotFound):
        await rig.keys.reset_limits(KID, rig.author())
    assert rig.counters.resets == []


async def test_counters_that_cannot_be_reset(rig):
    """If the counters cannot be reset, the record gets no new version."""
    kid = (await rig.keys.issue(SPEC, rig.author())).record.kid
    rig.counters.fault = Unavailable("gone")

    with pytest.raises(Unavailable, match="gone"):
        await rig.keys.reset_limits(kid, rig.author())
    assert rig.actions == [Action.ISSUE]
