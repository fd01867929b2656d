"""Deletion of keys: who may go, races, and keys that fail."""

from dataclasses import replace

import pytest

from authz.core.changes import Refused
from authz.core.errors import NotFound, Unavailable
from authz.core.records import Status
from authz.core.selector import Selector
from authz.core.usage.commit import Sight
from authz.flows.bulk_change import Failed, Skipped
from authz.flows.by import By
from authz.flows.confirmation import Extent
from authz.flows.deletion import MAX_FAILURES, Deletion
from authz.flows.lifecycle import Changed
from tests.support.fakes import NOW, FakeClock, MemoryKeyStore, make_record
from tests.support.memory_usage import MemoryUsage, MemoryUsageEraser

BY = By("alice")


def kid(number: int) -> str:
    """A kid."""
    return f"{number:016}"


def world(*statuses: Status, **overrides):
    """A store with keys in these statuses, and a Deletion over it."""
    store, clock = MemoryKeyStore(), FakeClock()
    for number, status in enumerate(statuses):
        store.records[kid(number)] = make_record(kid=kid(number), status=status, **overrides)
    return store, Deletion(store, store, MemoryUsageEraser(MemoryUsage(clock)), clock)


async def steps_of(deletion, kids, **options):
    """The outcome by kid."""
    steps = deletion.carry_out(kids, BY, **options)
    return {step.kid: step.outcome async for batch in steps for step in batch}


@pytest.mark.parametrize(
    ("status", "expires_at", "is_forced", "goes"),
    [
        (Status.REVOKED, None, False, True),
        (Status.ACTIVE, NOW, False, True),
        (Status.DISABLED, NOW, False, True),
        (Status.ACTIVE, NOW + 1, False, False),
        (Status.DISABLED, None, False, False),
        (Status.ACTIVE, None, True, True),
    ],
)
async def test_only_dead_keys_go_unless_forced(status, expires_at, is_forced, goes):
    """A revoked or expired key is deleted; another one only by force, which the entry says."""
    store, deletion = world(status, expires_at=expires_at)
    done = await deletion.delete(kid(0), BY.author(), is_forced=is_forced)
    assert (kid(0) not in store.records) is goes
    if not goes:
        assert isinstance(done, Refused)
        return
    assert (done.status, done.version) == (Status.REVOKED, 1)
    ((_, _, event),) = store.audit
    assert event.detail.get("forced", False) is is_forced


async def test_an_unknown_key():
    """A kid that no key has is named."""
    _, deletion = world()
    with pytest.raises(NotFound, match=kid(7)):
        await deletion.delete(kid(7), BY.author())


async def test_a_change_in_between_is_looked_at_again():
    """A key that changes between the look and the deletion is judged anew."""
    store, deletion = world(Status.REVOKED)
    delete, tries = store.delete, []

    async def raced(removal):
        tries.append(removal.record.version)
        if len(tries) == 1:
            record = store.records[kid(0)]
            store.records[kid(0)] = replace(record, version=9, status=Status.ACTIVE)
        return await delete(removal)

    store.delete = raced
    assert isinstance(await deletion.delete(kid(0), BY.author()), Refused)
    assert tries == [1]
    assert deletion._usage.usage.gone == set()  # its callers are kept again


async def test_each_key_has_its_own_outcome():
    """Missing, living and unfit keys stop no other."""
    store, deletion = world(Status.REVOKED, Status.ACTIVE, Status.REVOKED)
    store.records[kid(2)] = replace(store.records[kid(2)], client_id="other")
    extent = Extent()
    found = await steps_of(
        deletion,
        [kid(0), kid(1), kid(2), kid(3)],
        selector=Selector(client_id="acme-web"),
        extent=extent,
    )
    kinds = [type(found[kid(number)]) for number in range(4)]
    assert kinds == [Changed, Refused, Skipped, Failed]
    assert extent.version == 1


async def test_a_store_that_is_gone_ends_it():
    """After a few failures in a row the rest is not tried."""
    store, deletion = world(*[Status.REVOKED] * 20)
    store.down = True
    steps = deletion.carry_out([kid(number) for number in range(20)], BY)
    for _ in range(MAX_FAILURES - 1):
        ((step,)) = await anext(steps)
        assert isinstance(step.outcome, Failed)
    with pytest.raises(Unavailable):
        await anext(steps)


async def test_the_facts_about_callers_go_with_the_key():
    """Networks and user agents are erased; a key that is refused keeps them."""
    store, clock = MemoryKeyStore(), FakeClock()
    usage = MemoryUsage(clock)
    deletion = Deletion(store, store, MemoryUsageEraser(usage), clock)
    seen = Sight(NOW, "203.0.113.0/24", "curl")
    for number, status in enumerate((Status.REVOKED, Status.ACTIVE)):
        store.records[kid(number)] = make_record(kid=kid(number), status=status)
        usage.latest[kid(number)] = seen
        await deletion.delete(kid(number), BY.author())
    assert usage.latest == {kid(0): Sight(NOW, "", ""), kid(1): seen}


async def test_a_key_whose_facts_stay_is_not_deleted():
    """If the facts cannot be erased, the key stays, so that the deletion can be repeated."""

    class Gone(MemoryUsageEraser):
        async def erase(self, kid, today, *, permanently=False):
            raise Unavailable("the store is away")

    store, clock = MemoryKeyStore(), FakeClock()
    store.records[kid(0)] = make_record(kid=kid(0), status=Status.REVOKED)
    with pytest.raises(Unavailable):
        await Deletion(store, store, Gone(MemoryUsage(clock)), clock).delete(kid(0), BY.author())
    assert kid(0) in store.records
