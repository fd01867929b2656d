"""Lifecycle: changes are made once, also when answers are lost and others come in between."""

import asyncio
from collections import deque
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core import changes, secret_changes
from authz.core.audit import Action
from authz.core.changes import Refused, Unchanged
from authz.core.errors import OutcomeUnknown, Unavailable
from authz.core.limits.credits import parse_credits_change
from authz.core.limits.limit import parse_limits
from authz.core.records import Status
from authz.flows.lifecycle import Changed
from authz.flows.resending import MAX_TRIES
from tests.support.fakes import DAY, NOW, Failure, MemoryKeyStore
from tests.support.flows.rigs import KEYRING, SPEC, LifecycleRig


@pytest.fixture
def rig():
    """A lifecycle on an empty store."""
    return LifecycleRig()


@pytest.fixture
async def issued(rig):
    """The result of issuing a key in `rig`."""
    return await rig.keys.issue(SPEC, rig.author())


# lost answers


@pytest.mark.parametrize("failure", [Failure.APPLIED, Failure.NOT_APPLIED])
@pytest.mark.parametrize("times", [1, 2])
async def test_a_lost_answer_is_asked_for_again(rig, issued, failure, times):
    """The same change, with the same id, until the store confirms; it is made once."""
    rig.store.failures = deque([failure] * times)

    changed = await rig.revoke(issued.record.kid)

    sent = rig.store.applied[1:]
    assert len(sent) == 1 + times
    assert len({change.id for change in sent}) == 1
    assert changed.record == rig.store.records[issued.record.kid]
    assert rig.actions == [Action.ISSUE, Action.REVOKE]


@pytest.mark.parametrize("failure", [Failure.APPLIED, Failure.NOT_APPLIED])
async def test_issue_survives_a_lost_answer(rig, failure):
    """The text that is shown is the text that opens the one key that was made."""
    rig.store.failures = deque([failure])

    changed = await rig.keys.issue(SPEC, rig.author())

    assert rig.opens(changed.key_text)
    assert len(rig.store.records) == 1


async def test_a_rotation_whose_answer_was_lost_still_gives_the_text(rig, issued):
    """A rotation whose reply was lost returns the text of the secret that was made."""
    rig.store.failures = deque([Failure.APPLIED])

    changed = await rig.rotate(issued.record.kid)

    assert rig.opens(changed.key_text)
    assert len(changed.record.secrets) == 2


@pytest.mark.parametrize(
    "failures", [[Failure.NOT_APPLIED] * 3, [Failure.APPLIED, Failure.NOT_SENT, Failure.NOT_SENT]]
)
async def test_what_nobody_confirms_is_unknown(rig, issued, failures):
    """After three tries the outcome is unknown: not done and not refused."""
    rig.store.failures = deque(failures)

    with pytest.raises(OutcomeUnknown):
        await rig.revoke(issued.record.kid)

    assert len(rig.store.applied) == 1 + MAX_TRIES


async def test_a_store_that_comes_back_confirms(rig, issued):
    """A store that is unreachable between two tries can still confirm."""
    rig.store.failures = deque([Failure.APPLIED, Failure.NOT_SENT])

    assert (await rig.revoke(issued.record.kid)).record.status is Status.REVOKED


async def test_what_was_never_sent_is_not_done(rig, issued):
    """An unreachable store is an ordinary failure: nothing happened, no second try."""
    rig.store.failures = deque([Failure.NOT_SENT])

    with pytest.raises(Unavailable) as fault:
        await rig.revoke(issued.record.kid)

    assert not isinstance(fault.value, OutcomeUnknown)
    assert len(rig.store.applied) == 2
    assert rig.opens(issued.key_text)


async def test_a_store_that_cannot_be_read(rig, issued):
    """A store that cannot be read raises Unavailable, and nothing changes."""
    rig.store.down = True

    for attempt in (rig.keys.show(issued.record.kid), rig.revoke(issued.record.kid)):
        with pytest.raises(Unavailable):
            await attempt


# lost answers, and others in between


class OvertakenStore(MemoryKeyStore):
    """The first answer after `overtake` is set is lost, and somebody makes that change at once."""

    overtake = None

    async def apply(self, change):
        """Implement KeyStore.apply."""
        version = await super().apply(change)
        if self.overtake is not None:
            plan, self.overtake = self.overtake, None
            other = changes.Author("other", "bob")
            self.apply_now(plan(self.records[change.record.kid], other))
            raise OutcomeUnknown("the store did not confirm the change")
        return version


def disable(record, author):
    """Somebody disables the key."""
    return changes.disable(record, author, NOW)


def rotate(record, author):
    """Somebody rotates the key, with an overlap."""
    return secret_changes.rotate(record, KEYRING.mint("live", record.kid), DAY, author, NOW)


@pytest.mark.parametrize("overtake", [disable, rotate])
async def test_a_rotation_that_was_overtaken_is_not_made_twice(overtake):
    """A rotation that was overtaken returns its text, and the later change stays."""
    rig = LifecycleRig(OvertakenStore())
    kid = (await rig.keys.issue(SPEC, rig.author())).record.kid
    rig.store.overtake = overtake

    changed = await rig.rotate(kid)

    assert rig.store.records[kid] == changed.record
    digest = KEYRING.parse(changed.key_text).digest()
    assert [entry.digest for entry in changed.record.secrets].count(digest) == 1
    assert len(rig.actions) == 3


@pytest.mark.parametrize("overtake", [disable, rotate])
async def test_an_issue_that_was_overtaken_gives_the_text(overtake):
    """The key is there, changed by somebody since: who asked for it gets it."""
    rig = LifecycleRig(OvertakenStore())
    rig.store.overtake = overtake

    changed = await rig.keys.issue(SPEC, rig.author())

    assert changed.record == rig.store.records[changed.record.kid]
    digest = KEYRING.parse(changed.key_text).digest()
    assert digest in [entry.digest for entry in changed.record.secrets]


# many administrators

OPERATIONS = {
    "disable": lambda rig, kid: rig.disable(kid),
    "enable": lambda rig, kid: rig.keys.enable(kid, rig.author()),
    "rotate": lambda rig, kid: rig.rotate(kid),
    "revoke": lambda rig, kid: rig.revoke(kid),
}


@given(
    st.lists(
        st.tuples(st.sampled_from(list(OPERATIONS)), st.integers(0, 8)), min_size=1, max_size=5
    ),
    st.lists(st.one_of(st.none(), st.sampled_from(Failure)), max_size=10),
)
def test_many_changes_at_once_are_made_one_after_the_other(operations, failures):
    """However they meet and whatever is lost: what is said to be done was done, in some order."""
    rig, results = asyncio.run(at_once(operations, failures))

    names = [name for name, _ in operations]
    done, perhaps = (
        [name for name, result in zip(names, results, strict=True) if isinstance(result, kinds)]
        # Unchanged: also when its own lost answer was followed by another change.
        for kinds in (Changed, (OutcomeUnknown, Unchanged, Refused))
    )
    [final] = rig.store.records.values()
    trail = [action.value for action in rig.actions[1:]]
    digests = [entry.digest for entry in final.secrets]
    texts = [result.key_text for result in results if isinstance(result, Changed)]

    faults = [result for result in results if isinstance(result, BaseException)]
    assert all(isinstance(fault, Unavailable) for fault in faults)
    assert [seq for seq, _, _ in rig.store.audit] == list(range(1, len(trail) + 2))
    assert all(trail.count(name) >= done.count(name) for name in OPERATIONS)
    for name in ("rotate", "revoke"):  # never made twice; a switch may be turned again
        assert trail.count(name) <= done.count(name) + perhaps.count(name)
    assert (final.status is Status.REVOKED) is ("revoke" in trail)
    assert "revoke" not in trail[:-1]
    assert len(set(digests)) == len(digests)
    assert {KEYRING.parse(text).digest() for text in texts if text} <= set(digests)


async def at_once(operations, failures):
    """Run operations on one key, each some turns of the event loop after the start."""
    rig = LifecycleRig()
    kid = (await rig.keys.issue(SPEC, rig.author())).record.kid
    rig.store.failures = deque(failures)

    async def begin(name, turns):
        for _ in range(turns):
            await asyncio.sleep(0)
        return await OPERATIONS[name](rig, kid)

    begun = (begin(name, turns) for name, turns in operations)
    return rig, await asyncio.gather(*begun, return_exceptions=True)


# refills


async def refillable(store=None):
    """A rig with a key of 100 credits, and its kid."""
    rig = LifecycleRig(store or MemoryKeyStore())
    spec = replace(SPEC, limits=parse_limits("limits", ["100/once"]))
    return rig, (await rig.keys.issue(spec, rig.author())).record.kid


def refill(rig, kid):
    """Add 10 credits."""
    more = parse_credits_change("credits", "+10")
    return rig.keys.update(kid, {}, rig.author(), credits_change=more)


@pytest.mark.parametrize("failure", [Failure.APPLIED, Failure.NOT_APPLIED])
async def test_a_refill_whose_answer_was_lost_is_made_once(failure):
    """The same refill is sent again, and adds once."""
    rig, kid = await refillable()
    rig.store.failures = deque([failure])
    assert (await refill(rig, kid)).record.limits[0].limit == 110


async def test_refills_at_once_all_count():
    """Each is planned on the record that the one before has left."""
    rig, kid = await refillable()
    await asyncio.gather(*(refill(rig, kid) for _ in range(5)))
    assert rig.store.records[kid].limits[0].limit == 150


async def test_a_refill_that_was_overtaken_is_not_made_twice():
    """A lost reply and another change: it may have been made, so it is not repeated."""
    rig, kid = await refillable(OvertakenStore())
    rig.store.overtake = disable
    with pytest.raises(OutcomeUnknown, match="was changed by others since"):
        await refill(rig, kid)
    assert rig.store.records[kid].limits[0].limit == 110
