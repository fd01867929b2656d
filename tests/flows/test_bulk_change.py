"""One change is made to many keys, whatever becomes of any one of them."""

from dataclasses import replace

import pytest

from authz.core import changes
from authz.core.changes import Author, KeyChange, Refused, Unchanged
from authz.core.errors import BadInput, OutcomeUnknown, Unavailable, Unreadable
from authz.core.limits.credits import parse_credits_change
from authz.core.limits.limit import parse_limits
from authz.core.records import RevocationReason, Status
from authz.core.selector import Selector
from authz.flows import bulk_change
from authz.flows.bulk_change import BulkChange, Failed, Skipped
from authz.flows.by import By
from authz.flows.confirmation import Extent
from authz.flows.lifecycle import Changed
from authz.flows.selection import Cost, Selection
from tests.support.fakes import NOW, Failure, FakeClock, MemoryKeyStore, make_record
from tests.support.flows.index import MemoryIndex

CLIENT = "acme-web"
OURS = Selector(client_id=CLIENT)


def kid(number: int) -> str:
    """A kid."""
    return f"{number:016}"


def disable(record, now, by):
    """Plan to disable a key."""
    return changes.disable(record, by, now)


class Rig:
    """A client's keys in memory, and a BulkChange over them."""

    def __init__(self, count: int) -> None:
        self.store = MemoryKeyStore()
        for number in range(count):
            self.add(number)
        self.index = MemoryIndex(self.store.records)
        clock = FakeClock()
        self.selection = Selection(self.index, clock)
        self.bulk = BulkChange(self.selection, self.store, self.store, clock)
        self.extent = Extent()

    def add(self, number: int, **overrides) -> None:
        """Add a key."""
        record = make_record(**{"kid": kid(number), "client_id": CLIENT} | overrides)
        self.store.records[kid(number)] = record
        self.store._change_ids[kid(number)] = "issue"

    async def find(self) -> list[str]:
        """Return the kids of the client."""
        return [entry.kid async for entry in self.selection.each(OURS, Cost())]

    async def run(self, plan=disable, **options) -> dict[str, object]:
        """Change all keys of the client; the outcome by kid."""
        kids = await self.find()
        steps = self.bulk.carry_out(kids, plan, By("alice"), extent=self.extent, **options)
        return {step.kid: step.outcome async for batch in steps for step in batch}


async def test_all_keys_of_the_selection_and_no_other():
    """Each key gets its own outcome, and another client's keys stay."""
    rig = Rig(3)
    rig.add(3, status=Status.DISABLED, version=9)
    rig.add(4, status=Status.REVOKED)
    rig.add(5, client_id="somebody-else")
    found = await rig.run()
    kinds = [type(found[kid(number)]) for number in range(5)]
    assert kinds == [Changed, Changed, Changed, Unchanged, Refused]
    assert rig.store.records[kid(5)].status is Status.ACTIVE
    assert rig.extent == Extent(version=3, base=1, graces={None}, replicas=None)
    assert {event.actor for _, _, event in rig.store.audit} == {"alice"}
    assert len({change.id for change in rig.store.applied}) == 3


async def test_an_unreadable_key_and_a_plan_that_fails_stop_no_other():
    """An unreadable record and a refused value are reported with their reason."""
    rig = Rig(3)
    rig.index.keys = rig.store.records | {kid(0): Unreadable("garbled")}

    def plan(record, now, by):
        if record.kid == kid(1):
            raise BadInput("expires-at", "over before it begins")
        return disable(record, now, by)

    found = await rig.run(plan)
    assert found[kid(0)] == Failed("garbled")
    assert "over before it begins" in found[kid(1)].why
    assert isinstance(found[kid(2)], Changed)


async def test_a_key_that_others_change_is_planned_again(monkeypatch):
    """A conflict is planned on the new record; after too many the key fails alone."""
    monkeypatch.setattr(bulk_change, "MAX_CONFLICTS", 3)
    rig = Rig(2)
    apply_all, rounds = rig.store.apply_all, []

    async def raced(batch):
        rounds.append(len(batch))
        for change in batch:
            record = rig.store.records[change.record.kid]
            if record.kid == kid(1) or len(rounds) == 1:
                rig.store.records[record.kid] = replace(record, version=record.version + 10)
        return await apply_all(batch)

    rig.store.apply_all = raced
    found = await rig.run()
    assert isinstance(found[kid(0)], Changed)
    assert "being changed by others" in found[kid(1)].why
    assert rounds == [2, 2, 1]


async def test_a_key_that_no_longer_fits_is_skipped():
    """A key that got another client after it was found stays as it is."""
    rig = Rig(2)
    kids = await rig.find()
    moved = rig.store.records[kid(0)]
    rig.store.records[kid(0)] = replace(moved, client_id="somebody-else")
    steps = rig.bulk.carry_out(kids, disable, By("alice"), selector=OURS)
    found = {step.kid: step.outcome async for batch in steps for step in batch}
    assert found[kid(0)] == Skipped()
    assert isinstance(found[kid(1)], Changed)


async def test_a_lost_reply_is_repeated():
    """A batch whose reply was lost is sent again and changes each key once."""
    rig = Rig(3)
    rig.store.failures.append(Failure.APPLIED)
    found = await rig.run()
    assert {type(outcome) for outcome in found.values()} == {Changed}
    assert rig.store.seq == 3


async def test_a_refill_that_was_overtaken_is_not_made_twice():
    """A lost batch whose key was changed since has failed: its credits may have been added."""
    rig = Rig(2)
    for number in range(2):
        rig.add(number, limits=parse_limits("limits", ["100/once"]))
    apply_all = rig.store.apply_all

    async def overtaken(batch):
        rig.store.apply_all = apply_all
        await apply_all(batch)
        rig.store.apply_now(changes.disable(rig.store.records[kid(0)], Author("x", "bob"), NOW))
        raise OutcomeUnknown("the store did not confirm the changes")

    rig.store.apply_all = overtaken
    more = parse_credits_change("credits", "+10")
    found = await rig.run(
        lambda record, now, by: changes.update(record, {}, by, now, credits_change=more)
    )
    assert found[kid(0)] == Failed(bulk_change.MAYBE_ADDED)
    assert isinstance(found[kid(1)], Changed)
    assert [rig.store.records[kid(at)].limits[0].limit for at in range(2)] == [110, 110]


async def test_a_store_that_is_gone_ends_it(monkeypatch):
    """If a batch cannot be sent, the rest is not tried, and the earlier outcomes stay."""
    monkeypatch.setattr(bulk_change, "BATCH", 2)
    rig = Rig(6)
    rig.store.failures.extend([None, Failure.NOT_SENT])
    steps = rig.bulk.carry_out(await rig.find(), disable, By("alice"))
    done = [step.kid for step in await anext(steps)]
    with pytest.raises(Unavailable, match="down"):
        await anext(steps)
    assert done == [kid(0), kid(1)]


async def test_a_store_that_refuses_every_change_ends_it():
    """If all changes of a batch are refused by the store, its fault is raised."""
    rig = Rig(3)

    async def refuse(batch):
        return [Unavailable("the store is full")] * len(batch)

    rig.store.apply_all = refuse
    with pytest.raises(Unavailable, match="full"):
        await rig.run()


async def test_one_refused_change_stops_no_other():
    """A fault of one key is its outcome."""
    rig = Rig(2)
    apply_all = rig.store.apply_all

    async def refuse_first(batch):
        return [Unavailable("WRONGTYPE"), *await apply_all(batch[1:])]

    rig.store.apply_all = refuse_first
    found = await rig.run()
    assert found[kid(0)] == Failed("WRONGTYPE")
    assert isinstance(found[kid(1)], Changed)


async def test_the_fewest_replicas_count():
    """The extent holds the fewest replicas that have a batch."""
    extent = Extent()
    for count in (None, 2, 1, 3):
        extent.add_replicas(count)
    assert extent.replicas == 1


async def test_a_rehearsal_changes_nothing():
    """A rehearsal gives the outcomes of a run, and the store stays as it is."""
    rig = Rig(2)
    rig.add(2, status=Status.REVOKED)
    before = dict(rig.store.records)
    kids = await rig.find()
    found = {name: out async for name, out in rig.bulk.rehearse(kids, disable, By("alice"))}
    assert [type(out) for out in found.values()] == [KeyChange, KeyChange, Refused]
    assert (rig.store.records, rig.store.applied) == (before, [])


async def test_a_narrowing_batch_is_marked():
    """Changes that take rights away are marked, so that they apply on a full store."""
    rig = Rig(2)
    await rig.run(
        lambda record, now, by: changes.revoke(record, RevocationReason.SUPERSEDED, by, now)
    )
    assert [change.narrows for change in rig.store.applied] == [True, True]
