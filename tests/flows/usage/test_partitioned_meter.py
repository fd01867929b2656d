"""The meter of a store with several partitions: every part of every batch counts exactly once."""

import asyncio
import itertools

import pytest

from authz.core.usage.counts import Level
from authz.core.usage.entry import Cause
from authz.core.usage.events import MeterEvent
from authz.core.usage.parts import Parts
from authz.flows.usage.batches import Deferred
from authz.flows.usage.meter import LATE_MS
from tests.support.memory_usage import MemoryUsage
from tests.support.metered_partitions import COUNT, KIDS, PARTITIONS, line_of, requests, running
from tests.support.real import eventually
from tests.support.usage import MINUTE, line
from tests.support.usage_faults import FaultyUsage

DAY = range(MINUTE // 1440, MINUTE // 1440 + 1)

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def memories(clock):
    """Usage in memory, of each partition."""
    return [MemoryUsage(clock) for _ in range(COUNT)]


def of_all(*more: bytes) -> list[bytes]:
    """Return an entry of a key of each partition, and more."""
    return [*map(line_of, range(COUNT)), *more]


ONE_EACH = dict.fromkeys(enumerate(KIDS), 1)


def test_the_parts_of_a_batch():
    """An entry belongs to the partition of its key; garbage and one without a key to the first."""
    entries = [line_of(3), line(kid="-", secret="-"), line_of(3, version="4")]
    garbage = [b"", b"garbage", b"4 " + b"0" * 28 + b" " + b"\xff" * 40]
    parts = Parts(PARTITIONS)
    for _ in range(2):  # the second time from memory
        assert parts.of([*entries, *garbage]) == {
            3: [entries[0], entries[2]],
            0: [entries[1], *garbage],
        }
    assert parts.of([line_of(5, version="2")]).keys() == {5}
    assert parts.of([]) == {}


def test_an_entry_belongs_to_the_home_of_its_owner():
    """The tenant decides, else the project, else the client; the kid and the charge id do not."""
    parts = Parts(PARTITIONS)
    for owners in ("c1 p1 t1 pro live", "c1 p1 - pro live", "c1 - - - live", "c2 - t1 - live"):
        client, project, tenant = ("" if one == "-" else one for one in owners.split()[:3])
        home = PARTITIONS.home(client, project, tenant)
        for kid in KIDS:
            for version in ("3", "4"):
                own = line(kid=kid, owners=owners, version=version)
                assert parts.of([own]) == {home: [own]}
    assert parts.of([line(kid="-", owners="c1 p1 t1 pro live")]).keys() == {0}


def test_an_entry_of_version_2_belongs_to_the_partition_of_its_process():
    """Its process ends with the partition. One of a gate with one partition goes by its kid."""
    parts = Parts(PARTITIONS)
    for digits, at in (("03", 3), ("07", 7), ("08", 5), ("ff", 5)):
        own = line(kid=KIDS[5], version="2", charge_id=f"{'a' * 14}{digits}{1:012x}")
        assert parts.of([own]).keys() == {at}


async def test_each_part_is_counted_in_its_partition(memories, clock):
    """A batch is confirmed when all of its parts are in their partitions."""
    async with running(memories, clock) as meter:
        assert await meter.take(b"raw", of_all(line(kid="-", secret="-"), b"garbage"))
        assert (meter.waiting, meter.waiting_bytes, meter.lag) == (0, 0, 0)
        assert meter._probe.events[MeterEvent.ENTRY_COUNTED] == COUNT + 1
        assert +meter._probe.causes == {Cause.VERSION: 1}
    assert await requests(memories) == ONE_EACH
    totals = [await memory.totals(Level.DAY, DAY) for memory in memories]
    assert [sum(one.requests for one in each.values()) for each in totals] == [2] + [1] * 7


async def test_a_batch_without_entries_waits_for_nothing(memories, clock):
    """No partition has a part of it, so it is confirmed at once."""
    async with running(memories, clock) as meter:
        taken = meter.take(b"raw", [])
        assert taken.done()
        assert taken.result()
        assert meter.waiting == 0


class Away(FaultyUsage):
    """A partition that cannot be reached until it gets other faults."""

    def __init__(self, store):
        super().__init__(store, itertools.repeat("down"))


async def test_nothing_is_confirmed_before_the_last_partition_has_its_part(memories, clock):
    """A batch that is sent again meanwhile has two senders, and counts once in each partition."""
    stores = [*memories]
    stores[3] = away = Away(memories[3])
    entries = of_all()
    async with running(stores, clock) as meter:
        first = meter.take(b"raw", entries)
        others = {case: 1 for case in ONE_EACH if case[0] != 3}
        await eventually(lambda: _equal(requests(memories), others))
        gone, second = (meter.take(b"raw", entries) for _ in range(2))
        gone.cancel()
        alone = meter.take(b"alone", [line_of(0)])
        assert await alone  # a batch without a part for the missing partition
        assert [first.done(), second.done(), meter.waiting] == [False, False, 1]
        away.faults = iter(())
        assert await asyncio.gather(first, second) == [True, True]
        assert meter._probe.events[MeterEvent.BATCH_REPEATED] == 0
    assert await requests(memories) == {**ONE_EACH, (0, KIDS[0]): 2}


async def _equal(found, wanted):
    return dict(await found) == wanted


async def test_a_batch_that_another_meter_counted_in_some_partitions(memories, clock):
    """The partitions that have their part leave it out, and the others count theirs."""
    entries = of_all()
    stores = [*memories[:3], *map(Away, memories[3:])]
    async with running(stores, clock) as lost:
        assert not (taken := lost.take(b"raw", entries)).done()
        await eventually(lambda: _count(requests(memories), 3))
        assert not taken.done()
    async with running(memories, clock) as meter:
        assert await meter.take(b"raw", entries)
        assert meter._probe.events[MeterEvent.BATCH_REPEATED] == 3
        await eventually(
            lambda: [memory.all["repeated"] for memory in memories] == [1] * 3 + [0] * 5
        )
    assert await requests(memories) == ONE_EACH


async def _count(found, number):
    return (await found).total() == number


async def test_a_batch_is_taken_as_a_whole_or_not_at_all(memories, clock):
    """Before the time of one partition is known, no part is kept for the others."""
    memories[3].now_ms = lambda: None
    async with running(memories, clock) as meter:
        assert isinstance(meter.take(b"raw", of_all()), Deferred)
        assert await meter.take(b"alone", [line_of(5)])
        assert meter._probe.events[MeterEvent.BATCH_DEFERRED] == 1
    assert await requests(memories) == {(5, KIDS[5]): 1}


async def test_back_pressure(memories, clock):
    """The bound is one for all partitions, and frees what is in the store."""
    async with running(memories, clock, max_bytes=2500) as meter:
        taken = meter.take(b"one", of_all())
        assert isinstance(meter.take(b"two", of_all()), Deferred)
        assert await taken
        assert await meter.take(b"two", of_all())
    assert (await requests(memories)).total() == 2 * COUNT


async def test_a_part_that_waited_too_long(memories, clock):
    """A batch of which a part was dropped as too old is not confirmed as counted."""
    stores = [*memories[:7], away := Away(memories[7])]
    async with running(stores, clock) as meter:
        old = meter.take(b"old", of_all())
        await eventually(lambda: _count(requests(memories), COUNT - 1))
        clock.jump_wall(LATE_MS + 1)
        away.faults = iter(())
        assert await old is False
    assert (await requests(memories)).total() == COUNT - 1


async def test_drain(memories, clock):
    """At the end all parts that were taken are confirmed, and no more batches are taken."""
    stores = [FaultyUsage(memories[0], iter(["down"])), *memories[1:]]
    async with running(stores, clock, period=3600) as meter:
        taken = meter.take(b"raw", of_all())
        assert await meter.drain(10)
        assert await taken
        assert isinstance(meter.take(b"more", of_all()), Deferred)
    stores = [Away(memories[0]), *memories[1:]]
    async with running(stores, clock, period=3600) as meter:
        taken = meter.take(b"more", of_all())
        assert not await meter.drain(0.05)
        assert not taken.done()
