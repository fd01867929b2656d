"""The meter: every batch counts exactly once, whatever fails."""

import asyncio
import itertools
import random

import pytest

from authz.core.usage.counts import Level
from authz.core.usage.entry import Cause
from authz.core.usage.events import MeterEvent
from authz.flows.usage.batches import Deferred
from authz.flows.usage.meter import LATE_MS, Meter
from tests.support import meter_runs
from tests.support.memory_usage import MemoryUsage
from tests.support.meter_runs import deliver
from tests.support.real import eventually
from tests.support.usage import KID, MINUTE, PROCESS, line
from tests.support.usage_faults import (
    ClaimsFirst,
    CountsWithoutDigest,
    FaultyUsage,
    RecordingMeterProbe,
)

DAY = range(MINUTE // 1440, MINUTE // 1440 + 1)

pytestmark = pytest.mark.usefixtures("quick")


def running(store, clock, **options):
    """A meter that runs."""
    options = {"period": 0.001} | options
    return meter_runs.running(Meter(store, clock, RecordingMeterProbe(), **options))


@pytest.fixture
def memory(clock):
    """Usage in memory."""
    return MemoryUsage(clock)


async def requests(memory, kid=KID):
    """The number of requests of a key that are counted."""
    return sum(counts.requests for counts in (await memory.counts(kid, Level.DAY, DAY)).values())


async def test_a_batch(memory, clock):
    """A batch is confirmed when the store has it."""
    async with running(memory, clock) as meter:
        assert await meter.take(b"raw", [line(), line()])
        assert await requests(memory) == 2
        assert (meter.waiting, meter.waiting_bytes, meter.lag) == (0, 0, 0)
        assert meter._probe.events[MeterEvent.ENTRY_COUNTED] == 2


async def test_nothing_is_confirmed_before_the_store(memory, clock):
    """While the store fails, no sender gets an answer; then each gets one."""
    faults = iter(["down"] * 3)
    async with running(FaultyUsage(memory, faults), clock, period=0.01) as meter:
        confirmed = [meter.take(b"%d" % number, [line()]) for number in range(5)]
        await eventually(lambda: meter._probe.events[MeterEvent.COMMIT_FAILED] >= 2)
        assert not any(each.done() for each in confirmed)
        assert await requests(memory) == 0
        assert await asyncio.gather(*confirmed) == [True] * 5
    assert await requests(memory) == 5


async def test_a_lost_reply(memory, clock):
    """A commit that was added and whose reply was lost is not added again, and is no repeat."""
    async with running(FaultyUsage(memory, iter(["lost", "lost"])), clock) as meter:
        assert await meter.take(b"raw", [line()])
        assert await requests(memory) == 1
        events = meter._probe.events
        assert (events[MeterEvent.ENTRY_COUNTED], events[MeterEvent.BATCH_REPEATED]) == (1, 0)


async def test_a_batch_that_another_meter_counted(memory, clock):
    """A repeated batch is confirmed and taken out; the others of its commit are counted."""
    entries = [line(), line(), line()]
    async with running(memory, clock, period=0.01) as one:
        assert await one.take(b"one", entries[:2])
        confirmed = [one.take(b"two", entries[2:]), one.take(b"one", entries[:2])]
        assert await asyncio.gather(*confirmed) == [True, True]
        assert await requests(memory) == 3
        assert one._probe.events[MeterEvent.BATCH_REPEATED] == 1
        await eventually(lambda: memory.repeated.get(PROCESS) == 2)
    [found] = await memory.processes()
    assert (found.seen, found.repeated) == (3, 2)


async def test_a_batch_that_comes_twice_while_it_waits(memory, clock):
    """Both senders are confirmed by one commit; one that has gone disturbs nobody."""
    async with running(memory, clock, period=0.01) as meter:
        entries = [line()]
        first, second, gone = (meter.take(b"one", entries) for _ in range(3))
        gone.cancel()
        assert await first
        assert await second
    assert await requests(memory) == 1


async def test_garbage_is_counted_apart(memory, clock):
    """A batch with garbage is confirmed, because sending it again would not help."""
    async with running(memory, clock) as meter:
        assert await meter.take(b"raw", [b"garbage", line(), line(started=1)])
        assert meter._probe.causes == {Cause.VERSION: 1, Cause.CLOCK: 1}
    assert await requests(memory) == 1
    assert await memory.sums() == {"entries": 2, "misdated": 1}


async def test_a_commit_that_arrives_late_does_not_change_a_closed_minute(memory, clock):
    """If a minute closes while the commit is on its way, its entries are left out."""
    ended = (MINUTE - 120) * 60_000 + 59_000  # counts for 30 s more

    class Frozen(FaultyUsage):
        """A store that takes the first commit 40 s after it was sent."""

        is_late = False

        async def commit(self, commit, digests, arrived_ms):
            """Implement UsageStore.commit."""
            if not self.is_late:
                self.is_late = True
                clock.advance(40)
            return await memory.commit(commit, digests, arrived_ms)

    async with running(Frozen(memory, iter(())), clock) as meter:
        late, other = line(started=ended, milliseconds="0"), line()
        assert await meter.take(b"raw", [late, other])
        assert await requests(memory) == 1
        assert meter._probe.causes == {Cause.CLOCK: 1}
        assert meter._probe.events[MeterEvent.ENTRY_COUNTED] == 1


async def test_back_pressure(memory, clock):
    """Beyond the bound a batch is deferred; what was taken is confirmed later."""
    down = iter(["down"] * 2)
    async with running(FaultyUsage(memory, down), clock, max_bytes=450) as meter:
        taken = meter.take(b"one", [line()])
        also = meter.take(b"x" * 300, [line()])
        found = meter.take(b"three", [line()])
        assert isinstance(found, Deferred)
        assert found.seconds == 1.0
        assert await asyncio.gather(taken, also) == [True, True]
        assert await meter.take(b"three", [line()])
    assert await requests(memory) == 3


async def test_before_the_store_is_known(memory, clock):
    """Without the store's time nothing is taken."""
    memory.now_ms = lambda: None
    meter = Meter(memory, clock, RecordingMeterProbe())
    assert isinstance(meter.take(b"raw", [line()]), Deferred)
    assert meter.waiting == 0


async def test_a_batch_that_waited_too_long(memory, clock):
    """A batch that waited for an hour is dropped unconfirmed; newer ones are counted."""
    async with running(memory, clock, period=3600) as meter:
        old = meter.take(b"old", [line()])
        clock.jump_wall(LATE_MS + 1)
        new = meter.take(b"new", [line(started=clock.wall_ms())])
        assert await meter.drain(10)
        assert (await old, await new) == (False, True)
        assert meter._probe.events[MeterEvent.BATCH_TOO_OLD] == 1
    assert await requests(memory) == 1


async def test_drain(memory, clock):
    """At the end all batches that were taken are confirmed, and no more are taken."""
    async with running(FaultyUsage(memory, iter(["down"])), clock, period=3600) as meter:
        taken = meter.take(b"raw", [line()])
        assert await meter.drain(10)
        assert await taken
        assert isinstance(meter.take(b"more", [line()]), Deferred)
    assert await requests(memory) == 1


async def test_drain_without_the_store(memory, clock):
    """If the store stays away, the end does not wait for ever, and nothing is confirmed."""
    always = itertools.repeat("down")
    async with running(FaultyUsage(memory, always), clock, period=3600) as meter:
        taken = meter.take(b"raw", [line()])
        assert not await meter.drain(0.01)
        assert not taken.done()


async def test_big_commits_are_divided(memory, clock):
    """A commit has a bounded number of rows, and every batch is in one commit as a whole."""
    sizes = []

    class Measuring(FaultyUsage):
        async def commit(self, commit, digests, arrived_ms):
            sizes.append(len(commit.keys))
            return await super().commit(commit, digests, arrived_ms)

    async with running(Measuring(memory, iter(())), clock, max_rows=20) as meter:
        batches = [[line(kid=f"{n:08d}{k:08d}") for k in range(10)] for n in range(30)]
        await asyncio.gather(*(meter.take(b"%d" % n, lines) for n, lines in enumerate(batches)))
    assert max(sizes) <= 30
    assert sum(sizes) == 300


async def simulate(make, seed, clock):
    """Deliver batches to two meters while commits fail and meters are killed. Return the counts."""
    rnd = random.Random(seed)
    memory = MemoryUsage(clock)

    def meter():
        faults = (rnd.choice(["down", "lost", None, None]) for _ in itertools.count())
        return Meter(make(memory, faults), clock, RecordingMeterProbe(), period=0.0005)

    batches = [
        [line(charge_id=f"{PROCESS}{number * 3 + k + 1:012x}") for k in range(3)]
        for number in range(40)
    ]
    await deliver(batches, meter, rnd, 0.02)
    [found] = await memory.processes()
    return await requests(memory), found.seen


async def test_exactly_once(clock):
    """Requests counted are requests sent, with any faults."""
    assert await simulate(FaultyUsage, 1, clock) == (120, 120)


@pytest.mark.parametrize("mutant", [CountsWithoutDigest, ClaimsFirst])
async def test_the_simulation_finds_mutants(mutant, clock):
    """Counting without a digest, or claiming the digest in a step before, counts wrongly."""
    # Faults meet a batch by chance and by time, so one run may be lucky.
    counted = [(await simulate(mutant, seed, clock))[0] for seed in range(1, 5)]
    assert counted != [120] * 4
