"""Lifecycle: what each change does, and what happens when others change the same key."""

import asyncio

import pytest

from authz.core import changes
from authz.core.audit import Action
from authz.core.changes import Refused, Unchanged
from authz.core.errors import BadInput, NotFound, Unavailable
from authz.core.new_keys import KeySpec
from authz.core.records import RevocationReason, Status
from authz.flows import lifecycle
from authz.flows.conditions import Conditions
from authz.flows.lifecycle import Changed
from tests.support.fakes import DAY, KID, NOW, MemoryKeyStore
from tests.support.flows.rigs import KEYRING, SPEC, LifecycleRig


@pytest.fixture
def rig():
    """A lifecycle on an empty store."""
    return LifecycleRig()


@pytest.fixture
async def issued(rig):
    """The result of issuing a key in `rig`."""
    return await rig.keys.issue(SPEC, rig.author())


# one administrator, a healthy store


async def test_issue(rig):
    """The record is in the store under its version, and the key text opens it."""
    changed = await rig.keys.issue(SPEC, rig.author())

    assert changed.record == rig.store.records[changed.record.kid]
    assert changed.record.version == 1
    assert changed.record.created_at == NOW
    assert rig.opens(changed.key_text)
    assert rig.actions == [Action.ISSUE]


async def test_issue_refuses_a_key_that_would_never_work(rig):
    """A key that would never work is refused before anything reaches the store."""
    with pytest.raises(BadInput):
        await rig.keys.issue(KeySpec(client_id="a", env="live", life_ms=0), rig.author())

    assert rig.store.applied == []


async def test_show(rig, issued):
    """`show` returns the current record."""
    assert await rig.keys.show(issued.record.kid) == issued.record


async def test_rotate(rig, issued):
    """The new text opens the key at once, the old one until the overlap ends."""
    changed = await rig.rotate(issued.record.kid, grace_ms=7 * DAY)

    assert changed.record.version == 2
    assert rig.opens(changed.key_text)
    assert rig.opens(issued.key_text)
    rig.clock.advance(7 * DAY / 1000)
    assert rig.opens(changed.key_text)
    assert not rig.opens(issued.key_text)


async def test_a_rehearsed_rotation_has_no_text(rig, issued):
    """A rehearsed rotation returns the record as it would be, and no text of a secret."""
    kid, rehearsed = issued.record.kid, Conditions(dry_run=True)
    changed = await rig.keys.rotate(kid, DAY, rig.author(), conditions=rehearsed)

    assert [secret.id for secret in changed.record.secrets] == ["1", "2"]
    assert changed.key_text is None
    assert await rig.keys.show(kid) == issued.record


async def test_revoke(rig, issued):
    """A revoked key stays revoked."""
    changed = await rig.revoke(issued.record.kid)

    assert changed.record.status is Status.REVOKED
    assert changed.record.revocation_reason is RevocationReason.KEY_COMPROMISE
    assert changed.key_text is None
    assert not rig.opens(issued.key_text)
    for refused in (
        await rig.rotate(issued.record.kid),
        await rig.disable(issued.record.kid),
        await rig.keys.enable(issued.record.kid, rig.author()),
    ):
        assert isinstance(refused, Refused)
    assert rig.actions == [Action.ISSUE, Action.REVOKE]


async def test_disable_and_enable(rig, issued):
    """A key that is disabled and enabled works again with the same text."""
    kid = issued.record.kid

    assert (await rig.disable(kid)).record.status is Status.DISABLED
    assert not rig.opens(issued.key_text)
    assert (await rig.keys.enable(kid, rig.author())).record.status is Status.ACTIVE
    assert rig.opens(issued.key_text)
    assert rig.actions == [Action.ISSUE, Action.DISABLE, Action.ENABLE]


async def test_what_is_so_already_is_not_done_again(rig, issued):
    """A second revocation writes nothing: the first has the say on when and why."""
    kid = issued.record.kid
    first = await rig.revoke(kid)

    again = await rig.keys.revoke(kid, RevocationReason.SUPERSEDED, rig.author())

    assert isinstance(again, Unchanged)
    assert again.record == first.record
    assert rig.actions == [Action.ISSUE, Action.REVOKE]


async def test_an_unknown_kid(rig):
    """A change of an unknown kid raises NotFound."""
    for attempt in (
        rig.keys.show(KID),
        rig.rotate(KID),
        rig.revoke(KID),
        rig.disable(KID),
        rig.keys.enable(KID, rig.author()),
    ):
        with pytest.raises(NotFound, match=KID):
            await attempt

    assert rig.store.applied == []


def test_every_author_has_an_id_of_its_own(rig):
    """Two changes by one person are two changes."""
    assert len({rig.author().change_id for _ in range(100)}) == 100
    assert (rig.author().actor, rig.author().note) == ("alice", "because")


# others


async def test_two_changes_at_once(rig, issued):
    """One is first; the other is made again on what the first left, and nothing is lost."""
    kid = issued.record.kid

    results = await asyncio.gather(rig.rotate(kid), rig.rotate(kid))

    first, second = sorted(results, key=lambda result: result.record.version)
    assert (first.record.version, second.record.version) == (2, 3)
    assert rig.store.records[kid] == second.record
    assert second.record.secrets[1].digest == KEYRING.parse(first.key_text).digest()
    assert rig.opens(second.key_text)
    assert len(rig.store.applied) == 4  # issue, two that met, one again
    assert rig.actions == [Action.ISSUE, Action.ROTATE, Action.ROTATE]


async def test_two_rotations_with_an_overlap(rig, issued):
    """The second would make a third live secret, which it learns on fresh state."""
    kid = issued.record.kid

    results = await asyncio.gather(rig.rotate(kid, DAY), rig.rotate(kid, DAY))

    assert {type(result) for result in results} == {Changed, Refused}
    assert rig.actions == [Action.ISSUE, Action.ROTATE]


async def test_a_change_that_has_become_pointless(rig, issued):
    """Of two revocations at once, one is made and the other finds it done."""
    kid = issued.record.kid

    results = await asyncio.gather(rig.revoke(kid), rig.revoke(kid))

    assert {type(result) for result in results} == {Changed, Unchanged}
    assert rig.actions == [Action.ISSUE, Action.REVOKE]


async def test_a_change_that_is_no_longer_permitted(rig, issued):
    """A rotation that meets a revocation is refused."""
    kid = issued.record.kid
    rotation = asyncio.create_task(rig.rotate(kid))

    revoked, refused = await asyncio.gather(rig.revoke(kid), rotation)

    assert revoked.record.status is Status.REVOKED
    assert isinstance(refused, Refused)


class BusyStore(MemoryKeyStore):
    """Somebody else changes the key right before every change that is asked for."""

    async def apply(self, change):
        """Implement KeyStore.apply."""
        record = self.records.get(change.record.kid)
        if record is not None:
            turn = changes.enable if record.status is Status.DISABLED else changes.disable
            self.apply_now(turn(record, changes.Author(f"other-{self.seq}", "bob"), NOW))
        return await super().apply(change)


async def test_a_key_that_others_change_without_a_pause():
    """A change is given up, with Unavailable, if other changes always come first."""
    rig = LifecycleRig(BusyStore())
    kid = (await rig.keys.issue(SPEC, rig.author())).record.kid

    with pytest.raises(Unavailable, match="try again"):
        await rig.revoke(kid)

    assert len(rig.store.applied) == 1 + lifecycle.MAX_CONFLICTS
