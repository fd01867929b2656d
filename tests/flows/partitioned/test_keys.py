"""Keys in several partitions of a real store: each lies in the partition of its kid."""

from dataclasses import replace

import pytest

from authz.core import changes
from authz.core.changes import KeyChange, Refused
from authz.core.errors import AliasTaken, Deleted, Unavailable
from authz.core.keys.keyring import Keyring
from authz.core.limits.key_limits import LimitGroup, LimitPolicy, Owner
from authz.core.limits.limit import OnOutage, parse_limit
from authz.core.merging import Applied
from authz.core.new_keys import KeySpec
from authz.core.partitions import Partitions
from authz.core.records import Status
from authz.core.selector import Selector, State
from authz.flows.bulk_change import BATCH, BulkChange
from authz.flows.by import By
from authz.flows.importing import Done, Importer, Wanted
from authz.flows.lifecycle import Changed, Lifecycle
from authz.flows.limits.limit_report import LimitReports
from authz.flows.partitioned.limits import homes_of
from authz.flows.selection import Selection
from authz.process.clock import SystemClock
from tests.support.changes import DIGESTS, author, change_to, imported, issued
from tests.support.fakes import FakeClock, make_pepper
from tests.support.storage.partitioned import COUNT, parts_of

PARTITIONS = Partitions(COUNT)
BY = By("tests", "")


def keyring() -> Keyring:
    """The keyring of the installation."""
    return Keyring("ak", [make_pepper("1")], partitions=PARTITIONS)


@pytest.fixture
async def parts(valkey):
    """The partitions of a store."""
    async with parts_of(valkey) as found:
        yield found


def lifecycle(parts) -> Lifecycle:
    """Return the lifecycle over all partitions."""
    return Lifecycle(parts.keys, keyring(), FakeClock(), lambda: parts.counters)


def spec(number: int = 0, **fields) -> KeySpec:
    """Return the fields of a key of one of many clients."""
    return KeySpec(**{"client_id": f"c{number}", "env": "live", "life_ms": None} | fields)


def fitting(change: KeyChange, client: str) -> KeyChange:
    """Return the change for a key of this client, with a kid that leads to its home."""
    record = replace(change.record, client_id=client)
    record = replace(record, kid=PARTITIONS.fitting(record.kid, record))
    return replace(change, record=record)


async def test_a_key_lies_in_its_home_alone(parts):
    """Each key is in the partition of its tenant, project or client, and is changed there."""
    life = lifecycle(parts)
    wanted = [spec(n) for n in range(10)]
    wanted += [spec(n, project_id="web") for n in range(5)]
    wanted += [spec(n, project_id=f"p{n}", tenant_id="north") for n in range(5)]
    made = [(await life.issue(one, author())).record for one in wanted]
    for record in made:
        home = PARTITIONS.home_of(record)
        there = [await store.find(record.kid) is not None for store in parts.stores]
        assert there == [at == home for at in range(COUNT)]
        disabled = await life.disable(record.kid, author())
        assert isinstance(disabled, Changed)
        assert (await parts.stores[home].find(record.kid)).status is Status.DISABLED
        entry = await parts.history.entry(record.kid, disabled.record.version)
        assert entry.base_version == record.version
    assert len({PARTITIONS.home_of(one) for one in made[10:15]}) == 1
    assert len({PARTITIONS.home_of(one) for one in made[15:]}) == 1
    assert len({PARTITIONS.home_of(one) for one in made[:10]}) > 1


async def test_a_change_of_home_is_refused(parts):
    """The reason is named, nothing changes; another owner of the same home is taken."""
    life = lifecycle(parts)
    record = (await life.issue(spec(), author())).record
    owners = [f"t{number}" for number in range(100)]
    home = PARTITIONS.home_of(record)
    same = next(one for one in owners if PARTITIONS.home("", "", one) == home)
    other = next(one for one in owners if PARTITIONS.home("", "", one) != home)
    refused = await life.update(record.kid, {"tenant_id": other}, author())
    assert isinstance(refused, Refused)
    assert "another partition" in refused.why
    assert await life.show(record.kid) == record
    moved = await life.update(record.kid, {"tenant_id": same}, author())
    assert isinstance(moved, Changed)
    assert (await life.show(record.kid)).tenant_id == same

    selection = Selection(parts.index, FakeClock())
    bulk = BulkChange(selection, parts.keys, parts.batches, FakeClock(), PARTITIONS)

    def move(before, now, by):
        return changes.update(before, {"tenant_id": other}, by, now)

    planned = [one async for one in bulk.rehearse([record.kid], move, BY)]
    assert [(kid, type(outcome)) for kid, outcome in planned] == [(record.kid, Refused)]
    steps = [one async for batch in bulk.carry_out([record.kid], move, BY) for one in batch]
    assert [type(step.outcome) for step in steps] == [Refused]
    assert (await life.show(record.kid)).tenant_id == same


async def test_many_keys_are_found_in_order_and_changed_at_once(parts):
    """Pages of keys of all partitions come in one order, and one change is made to all."""
    clock = FakeClock()
    life = Lifecycle(parts.keys, keyring(), clock)
    kids = []
    for number in range(150):
        kids.append((await life.issue(spec(number % 40), author())).record.kid)
        clock.advance(number % 2 / 1000)
    selection = Selection(parts.index, clock)
    assert {PARTITIONS.of(kid) for kid in kids} == set(range(COUNT))
    entries, cursor = [], ""
    while cursor is not None:
        page = await selection.page(Selector(), 7, cursor)
        entries += page.entries
        cursor = page.next
    in_order = sorted(entries, key=lambda entry: (entry.record.created_at, entry.kid))
    assert entries == in_order
    assert {entry.kid for entry in entries} == set(kids)
    assert [one.kid async for one in selection.each(Selector())] == [one.kid for one in entries]
    newest = await selection.page(Selector(), 150, is_newest_first=True)
    assert list(newest.entries) == entries[::-1]
    own = await selection.page(Selector(client_id="c7"), 150)
    assert [one.record.client_id for one in own.entries] == ["c7"] * 4

    bulk = BulkChange(selection, parts.keys, parts.batches, clock, PARTITIONS)
    kids = kids[: BATCH + 20]

    def disable(record, now, by):
        return changes.disable(record, by, now)

    steps = [one async for batch in bulk.carry_out(kids, disable, BY) for one in batch]
    assert [step.kid for step in steps] == kids
    assert all(isinstance(step.outcome, Changed) for step in steps)
    disabled = await selection.page(Selector(states=frozenset({State.DISABLED})), 150)
    assert {one.kid for one in disabled.entries} == set(kids)


async def test_an_import_is_known_in_every_partition(parts):
    """A key that is imported for one owner cannot be imported for one of another home."""
    ring, clock = keyring(), SystemClock()
    importer = Importer(parts.imports, parts.index, clock, "tests", partitions=PARTITIONS)
    wanted = [Wanted(ring.parse_imported(f"sk-{n:030}"), spec(n)) for n in range(20)]
    outcomes = await importer.put(wanted)
    assert all(isinstance(one, Done) and not one.already for one in outcomes)
    for one, outcome in zip(wanted, outcomes, strict=True):
        assert PARTITIONS.of(outcome.kid) == PARTITIONS.home_of(one.spec)
    again = [replace(one, spec=spec(n + 1)) for n, one in enumerate(wanted)]
    clashes = await importer.put(again)
    assert [clash.kid for clash in clashes] == [one.kid for one in outcomes]
    assert [one.already for one in await importer.put(wanted)] == [True] * 20
    assert all([await store.has_imports() for store in parts.stores])


async def test_one_key_twice_in_a_batch_of_several_homes(parts):
    """The first is imported, wherever the second would lie; a repeated batch does the same."""
    kids = [f"{number:016}" for number in range(40)]
    first = kids[0]
    other = next(kid for kid in kids if PARTITIONS.of(kid) != PARTITIONS.of(first))
    batch = [imported(first, DIGESTS[:1]), imported(other, DIGESTS[:1])]
    for _ in range(2):
        version, taken = await parts.imports.apply_all(batch)
        assert version == 1
        assert isinstance(taken, AliasTaken)
        assert taken.kid == first
    assert await parts.keys.find(other) is None


async def test_a_deleted_import_is_refused_in_every_partition(parts):
    """The tombstone of one partition is found from every home."""
    homes = {PARTITIONS.home(f"c{number}"): f"c{number}" for number in range(40)}
    first, other = (fitting(imported("0" * 16, DIGESTS[:1]), homes[at]) for at in (2, 5))
    await parts.imports.apply_all([first])
    await parts.deletion.delete(first.record.kid, author(), is_forced=True)
    assert await parts.keys.find(first.record.kid) is None
    (found,) = await parts.imports.apply_all([other])
    assert isinstance(found, Deleted)


async def test_applied_fields_lie_beside_their_keys(parts):
    """Each is saved in the partition of its key, and all are loaded."""
    saved = {f"{number:016}": Applied(1, {}, f"r{number}") for number in range(30)}
    await parts.applied.save(saved)
    assert await parts.applied.load() == saved


async def test_limits_of_a_key_and_its_pools_are_read(parts):
    """The use of the limits of a key, its project and its tenant comes from its partition."""
    clock, life = SystemClock(), lifecycle(parts)
    daily = parse_limit("limit", "100/d")
    own = spec(1, project_id="web", tenant_id="north", limits=(daily,))
    record = (await life.issue(own, author())).record
    pools = {"web": (daily,)}, {"north": (daily,)}
    policy = LimitPolicy({}, *pools, OnOutage.DENY)
    view = await LimitReports(parts.counters, policy, clock).view(record)
    assert [use.owner for use in view.uses] == [Owner.KEY, Owner.PROJECT, Owner.TENANT]
    groups = [
        LimitGroup(Owner.KEY, record.kid, (daily,)),
        LimitGroup(Owner.PROJECT, "web", (daily,), "north"),
        LimitGroup(Owner.TENANT, "north", (daily,)),
    ]
    assert set(await homes_of(groups, parts.places)) == {PARTITIONS.of(record.kid)}
    assert isinstance(await life.reset_limits(record.kid, author()), Changed)


async def test_a_partition_that_is_missing_is_named(valkey):
    """Keys of other partitions work; lists and imports fail, because they would lack some."""
    async with parts_of(valkey) as parts:
        parts.missing[3] = Unavailable("the store cannot be used: gone")
        homes = {PARTITIONS.home(f"c{number}"): f"c{number}" for number in range(40)}
        lacking, having = (fitting(issued("0" * 16), homes[at]) for at in (3, 4))
        lost, fine = lacking.record.kid, having.record.kid
        assert await parts.keys.apply(having) == 1
        for failing in (
            parts.keys.find(lost),
            parts.keys.apply(lacking),
            parts.index.kids(None, None, 10),
            parts.index.read([fine, lost]),
            parts.imports.resolve_all([DIGESTS]),
            parts.imports.allow_imports(),
        ):
            with pytest.raises(Unavailable, match=r"^partition 3: the store cannot be used: gone"):
                await failing
        record = await parts.keys.find(fine)
        made, failed = await parts.batches.apply_all([change_to(record, 1), lacking])
        assert made == 2
        assert isinstance(failed, Unavailable)
        with pytest.raises(Unavailable, match="partition 3"):
            await parts.batches.apply_all([lacking])
