"""Repeatable requests: one key and one answer, wherever an earlier request ended."""

import asyncio

import pytest

from authz.core.changes import Refused
from authz.core.errors import BadInput, Conflict, Forbidden, OutcomeUnknown, Unreadable
from authz.core.partitions import Partitions
from authz.core.records import RevocationReason, Status
from authz.flows.conditions import Conditions
from authz.flows.repeatable import Repeatable, RepeatableRequests
from tests.support.fakes import DAY, Failure, MemoryRequestStore
from tests.support.flows.rigs import KEYRING, SPEC, LifecycleRig

CREATE = Repeatable("CreateKey", "request-0001", b"content")
ROTATE = Repeatable("RotateKey", "request-0001", b"content")


class Rig(LifecycleRig):
    """A lifecycle, and requests that may be repeated."""

    def __init__(self):
        super().__init__()
        self.requests = RepeatableRequests(MemoryRequestStore(), KEYRING)

    async def create(self, request=CREATE, actor="alice"):
        """Issue a key by a repeatable request."""
        attempt, author = await self.requests.begin(request, self.keys.author(actor))
        return await self.keys.issue(SPEC, author, attempt)

    async def turn(self, kid, request=ROTATE, grace_ms=0):
        """Rotate a key by a repeatable request."""
        newest = int((await self.keys.show(kid)).newest_secret.id)
        attempt, author = await self.requests.begin(request, self.keys.author("alice"), newest)
        return await self.keys.rotate(kid, grace_ms, author, attempt)


@pytest.fixture
def rig():
    """A lifecycle on an empty store."""
    return Rig()


async def test_a_repeated_create_returns_the_same_key(rig):
    """One key is in the store, and both answers have its text and its record."""
    first = await rig.create()
    rig.clock.advance(5)
    again = await rig.create()
    assert (again.record, again.key_text) == (first.record, first.key_text)
    assert list(rig.store.records) == [first.record.kid]
    assert rig.opens(first.key_text)


async def test_a_create_that_is_repeated_after_a_move_to_more_partitions(rig, monkeypatch):
    """The key is found although a new one would get a kid that leads to its home."""
    requests = [Repeatable("CreateKey", f"request-{number:04}", b"") for number in range(20)]
    first = [await rig.create(request) for request in requests]
    monkeypatch.setattr(KEYRING, "partitions", Partitions(8))
    again = [await rig.create(request) for request in requests]
    assert [one.key_text for one in again] == [one.key_text for one in first]
    assert len(rig.store.records) == len(requests)


async def test_creates_at_the_same_time_make_one_key(rig):
    """Ten requests at the same time have one answer."""
    found = await asyncio.gather(*(rig.create() for _ in range(10)))
    assert len({(each.record.kid, each.record.version, each.key_text) for each in found}) == 1
    assert len(rig.store.records) == 1


@pytest.mark.parametrize("failure", [Failure.NOT_APPLIED, Failure.APPLIED])
async def test_a_lost_reply(rig, failure):
    """After a create whose replies were all lost, the same request completes it."""
    rig.store.failures.extend([failure, Failure.NOT_APPLIED, Failure.NOT_APPLIED])
    with pytest.raises(OutcomeUnknown):
        await rig.create()
    done = await rig.create()
    assert list(rig.store.records) == [done.record.kid]
    assert rig.opens(done.key_text)


async def test_a_key_that_was_changed_meanwhile(rig):
    """A repeated create after a revocation returns the revoked key, with the same text."""
    first = await rig.create()
    await rig.keys.revoke(first.record.kid, RevocationReason.SUPERSEDED, rig.author())
    again = await rig.create()
    assert again.record.status is Status.REVOKED
    assert again.key_text == first.key_text


async def test_callers_do_not_share_request_ids(rig):
    """The same id of another caller, or of another method, is another request."""
    first, other = await rig.create(), await rig.create(actor="bob")
    assert first.record.kid != other.record.kid
    assert first.key_text != other.key_text


async def test_another_content_is_refused(rig):
    """The id of an earlier request cannot be used for something else."""
    await rig.create()
    with pytest.raises(BadInput, match="another request within 24 h"):
        await rig.create(Repeatable("CreateKey", "request-0001", b"other"))


async def test_a_repeated_rotation_adds_one_secret(rig):
    """Both answers have the same text, and the key has one secret more."""
    key = await rig.create()
    first = await rig.turn(key.record.kid)
    again = await rig.turn(key.record.kid)
    assert again.key_text == first.key_text
    assert len(again.record.secrets) == 2
    assert rig.opens(first.key_text)


async def test_a_removed_secret_does_not_come_back(rig):
    """After five later rotations the repeated one is refused: its secret is gone for good."""
    kid = (await rig.create()).record.kid
    await rig.turn(kid)
    for number in range(5):
        await rig.turn(kid, Repeatable("RotateKey", f"later-{number}", b""))
    before = rig.store.records[kid]
    assert isinstance(await rig.turn(kid), Refused)
    assert rig.store.records[kid] == before


async def test_a_garbled_entry(rig):
    """An entry of the store that cannot be read is told, and nothing is issued."""
    store = MemoryRequestStore()
    rig.requests = RepeatableRequests(store, KEYRING)
    await rig.create()
    for name in store.entries:
        store.entries[name] = "{}"
    with pytest.raises(Unreadable):
        await rig.create()
    assert len(rig.store.records) == 1


# conditions


async def test_another_version_is_a_conflict(rig):
    """A change that asks for an older version is not made."""
    key = await rig.create()
    old = Conditions(version=key.record.version)
    await rig.keys.disable(key.record.kid, rig.author(), old)
    with pytest.raises(Conflict):
        await rig.keys.enable(key.record.kid, rig.author(), old)
    assert rig.store.records[key.record.kid].status is Status.DISABLED


async def test_a_rehearsal_changes_nothing(rig):
    """A dry run returns the record as it would be."""
    key = await rig.create()
    rehearsal = Conditions(dry_run=True)
    kid = key.record.kid
    assert (await rig.keys.disable(kid, rig.author(), rehearsal)).record.status is Status.DISABLED
    changed = await rig.keys.update(kid, {"name": "web"}, rig.author(), conditions=rehearsal)
    assert changed.record.name == "web"
    await rig.keys.rotate(kid, DAY, rig.author(), conditions=rehearsal)
    await rig.keys.reset_limits(kid, rig.author(), rehearsal)
    assert rig.store.records[kid] == key.record


async def test_the_guard_sees_the_record_that_is_changed(rig):
    """The guard gets the record alone, then with its successor; what it raises ends the change."""
    key, seen = await rig.create(), []

    def guard(before, after):
        seen.append((before.name, after and after.name))
        if after is not None and after.name == "forbidden":
            raise Forbidden("no")

    kid, conditions = key.record.kid, Conditions(guard)
    await rig.keys.update(kid, {"name": "web"}, rig.author(), conditions=conditions)
    with pytest.raises(Forbidden):
        await rig.keys.update(kid, {"name": "forbidden"}, rig.author(), conditions=conditions)
    assert seen == [("", None), ("", "web"), ("web", None), ("web", "forbidden")]
    assert rig.store.records[kid].name == "web"
