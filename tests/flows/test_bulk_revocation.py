"""All keys of a client are revoked, whatever becomes of any one of them."""

import pytest

from authz.core.changes import Author
from authz.core.errors import Unavailable, Unreadable
from authz.core.records import RevocationReason, Status
from authz.flows.bulk_revocation import MAX_FAILURES, BulkRevocation
from authz.flows.lifecycle import Lifecycle
from authz.flows.selection import Selection
from tests.support.fakes import Failure, FakeClock, MemoryKeyStore, make_keyring, make_record
from tests.support.flows.index import MemoryIndex

CLIENT = "acme-web"
REASON = RevocationReason.CESSATION_OF_OPERATION


def kid(number: int) -> str:
    """A kid."""
    return f"{number:016}"


class Rig:
    """A client's keys, and their withdrawal."""

    def __init__(self, count: int) -> None:
        self.store = MemoryKeyStore()
        for number in range(count):
            self.add(number)
        self.selection = Selection(MemoryIndex(self.store.records), FakeClock())
        self.lifecycle = Lifecycle(self.store, make_keyring(), FakeClock())
        self.done = BulkRevocation(CLIENT)
        self.asked = 0

    def add(self, number: int, **overrides) -> None:
        """One more key."""
        record = make_record(**{"kid": kid(number), "client_id": CLIENT} | overrides)
        self.store.records[kid(number)] = record
        self.store._change_ids[kid(number)] = "issue"

    def author(self) -> Author:
        """Somebody, with a fresh change id."""
        self.asked += 1
        return Author(f"change-{self.asked}", "alice")

    async def carry_out(self) -> list[str]:
        """Plan and revoke; the kids that were tried."""
        await self.done.plan(self.selection)
        steps = self.done.carry_out(self.selection, self.lifecycle, REASON, self.author)
        return [name async for name in steps]

    @property
    def left(self) -> list[str]:
        """The kids of the client that are not revoked."""
        found = self.store.records.values()
        return [f.kid for f in found if f.client_id == CLIENT and f.status is not Status.REVOKED]


async def test_all_keys_of_the_client_and_no_other():
    """Active and disabled ones are revoked, revoked ones counted, others' left alone."""
    rig = Rig(3)
    rig.add(3, status=Status.DISABLED)
    rig.add(4, status=Status.REVOKED)
    rig.add(5, client_id="somebody-else")

    assert await rig.carry_out() == [kid(n) for n in range(4)]
    assert (rig.done.revoked, rig.done.already) == ([kid(n) for n in range(4)], 1)
    assert (rig.done.failed, rig.left) == ({}, [])
    assert rig.store.records[kid(0)].revocation_reason is REASON
    assert rig.store.records[kid(5)].status is Status.ACTIVE


async def test_nothing_to_do():
    """A client without keys gives an empty plan."""
    rig = Rig(0)
    assert await rig.carry_out() == []


async def test_it_goes_on_after_a_failure():
    """One key that cannot be revoked is reported and stops no other."""
    rig = Rig(4)
    rig.store.failures.extend([None, Failure.NOT_SENT])

    assert await rig.carry_out() == [kid(n) for n in range(4)]
    assert rig.done.revoked == [kid(0), kid(2), kid(3)]
    assert list(rig.done.failed) == rig.left == [kid(1)]
    assert "down" in rig.done.failed[kid(1)]


async def test_keys_that_cannot_be_read_stop_nothing():
    """Unreadable keys do not end a bulk revocation, however many there are in a row."""
    rig = Rig(MAX_FAILURES + 3)
    find = rig.store.find

    async def find_some(name):
        if name < kid(MAX_FAILURES + 2):
            raise Unreadable(f"record {name}: garbled")
        return await find(name)

    rig.store.find = find_some
    await rig.carry_out()
    assert len(rig.done.failed) == MAX_FAILURES + 2
    assert rig.done.revoked == [kid(MAX_FAILURES + 2)]


async def test_a_store_that_is_gone_ends_it():
    """When one key after the other fails, the rest is not tried, and the fault is told."""
    rig = Rig(100)
    rig.store.failures.extend([None, None])
    rig.store.failures.extend([Failure.NOT_SENT] * 90)
    with pytest.raises(Unavailable, match="down"):
        await rig.carry_out()
    assert len(rig.done.revoked) == 2
    assert len(rig.done.failed) == MAX_FAILURES


async def test_keys_issued_meanwhile_are_revoked_too():
    """The list is read again at the end, until nothing new is on it."""
    rig = Rig(2)
    await rig.done.plan(rig.selection)
    tried = []
    steps = rig.done.carry_out(rig.selection, rig.lifecycle, REASON, rig.author)
    async for name in steps:
        tried.append(name)
        if len(tried) in {1, 2, 3}:
            rig.add(10 + len(tried))
    assert len(tried) == 5
    assert (rig.left, rig.done.tried) == ([], 5)


async def test_somebody_else_is_faster():
    """A key that was revoked since the list was read is no failure."""
    rig = Rig(2)
    await rig.done.plan(rig.selection)
    await rig.lifecycle.revoke(kid(0), REASON, rig.author())
    async for _ in rig.done.carry_out(rig.selection, rig.lifecycle, REASON, rig.author):
        pass
    assert (rig.done.revoked, rig.done.already, rig.done.failed) == ([kid(1)], 1, {})


async def test_again_after_a_failure():
    """A second run finishes what the first left."""
    rig = Rig(3)
    rig.store.failures.extend([Failure.NOT_SENT])
    await rig.carry_out()
    first, rig.done = rig.done, BulkRevocation(CLIENT)
    await rig.carry_out()
    assert list(first.failed) == rig.done.revoked
    assert (rig.done.already, rig.left) == (2, [])
