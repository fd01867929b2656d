"""The judgement of hours: each hour of a key once, in order, by one process."""

import asyncio

import pytest

from authz.core.errors import Unavailable
from authz.core.usage.anomalies.features import Feature, Gap
from authz.core.usage.anomalies.habits import AGE, HOUR, unpack
from authz.core.usage.anomalies.judging import Callers, Hour
from authz.core.usage.anomalies.ports import Round
from authz.flows.usage.anomaly_reports import AnomalyReports
from authz.flows.usage.judgement import JUDGEMENTS, Judgement
from tests.support.anomalies.memory_habits import FIRST, AllKids, MemoryHabits
from tests.support.fakes import FakeClock

KID, OTHER = "A" * 16, "B" * 16
ONE = Callers(1, has_new=False, gap=None)
HOUR_MS = 3_600_000


class Rig:
    """A store with two keys of the same use every hour, and the judgement of a process."""

    def __init__(self, hours):
        self.store = MemoryHabits()
        for hour in range(FIRST - 10, FIRST + hours):
            for kid in (KID, OTHER):
                self.store.hours[kid, hour] = Hour(100, 0, 0, ONE, ONE)
        self.judgement = self.process("one")

    def process(self, name):
        """Return the judgement of a process."""
        return Judgement(self.store, AllKids(KID, OTHER), name)

    def at(self, hour):
        """Set the time so that `hour` is the latest closed one."""
        self.store.now = (hour + 3) * HOUR_MS


async def test_hours_one_by_one():
    """An hour is judged when it is closed, and the unusual ones are stored with their reasons."""
    rig = Rig(400)
    rig.store.hours[KID, FIRST + 400] = Hour(3000, 0, 0, ONE, ONE)
    for hour in range(FIRST, FIRST + 401):
        rig.at(hour)
        assert await rig.judgement.look()
        assert await rig.judgement.look()  # nothing new
    assert list(rig.store.found) == [(KID, FIRST + 400)]
    (reason,) = rig.store.found[KID, FIRST + 400].reasons
    assert reason.feature is Feature.RATE
    assert [done.hour for done in rig.store.rounds] == list(range(FIRST, FIRST + 401))
    assert {done.keys for done in rig.store.rounds[:-1]} == {2}
    assert rig.store.rounds[0].gaps[Feature.RATE, Gap.HISTORY] == 2
    assert (rig.judgement.keys, rig.judgement.anomalies) == (802, {"rate": 1})


async def test_an_hour_is_judged_after_two_hours():
    """An hour whose counts may still change is not judged."""
    rig = Rig(10)
    rig.at(FIRST)
    rig.store.now -= 1
    await rig.judgement.look()
    assert [done.hour for done in rig.store.rounds] == [FIRST - 1]


async def test_a_round_that_is_interrupted():
    """A round that failed halfway is continued, and no key learns an hour twice."""
    rig = Rig(5)
    for hour in range(FIRST, FIRST + 5):
        rig.at(hour)
        rig.store.fails_after = 1
        with pytest.raises(Unavailable):
            await rig.judgement.look()
        rig.store.fails_after = None
        assert await rig.judgement.look()
    for kid in (KID, OTHER):
        habits = unpack(rig.store.habits[kid])
        assert (habits[AGE], habits[HOUR]) == (5, FIRST + 4)


async def test_after_an_outage():
    """Up to a day is judged in order; earlier hours are left out."""
    rig = Rig(100)
    rig.at(FIRST)
    await rig.judgement.look()
    rig.at(FIRST + 5)
    await rig.judgement.look()
    assert [done.hour for done in rig.store.rounds] == list(range(FIRST, FIRST + 6))
    rig.at(FIRST + 90)
    await rig.judgement.look()
    assert [done.hour for done in rig.store.rounds[6:]] == list(range(FIRST + 67, FIRST + 91))


async def test_a_latest_hour_that_is_to_come():
    """An hour of a wrong clock stops no judgement, and a reader reads no hours up to it."""
    rig = Rig(3)
    rig.store.rounds.append(Round(10**15))
    rig.at(FIRST)
    assert await rig.judgement.look()
    assert [done.hour for done in rig.store.rounds[1:]] == [FIRST]

    class Hours(MemoryHabits):
        async def anomalies(self, hours):
            self.asked = hours
            return []

    class Nobody:
        async def read(self, kids):
            return []

    store, clock = Hours(), FakeClock()
    store.rounds.append(Round(10**15))
    now = clock.wall_ms()
    await AnomalyReports(store, Nobody(), clock).unusual(now - 7 * 24 * HOUR_MS, 1)
    assert len(store.asked) == 7 * 24 + 1


async def test_one_process_judges():
    """Another process leaves the hours alone while one has the lease."""
    rig = Rig(3)
    assert await rig.judgement.look()
    assert not await rig.process("two").look()
    assert {done.hour for done in rig.store.rounds} == {FIRST - 3}


async def test_data_that_is_damaged():
    """A key whose hour cannot be read is left out; damaged habits begin anew. Both are counted."""
    rig = Rig(3)
    rig.at(FIRST)
    rig.store.habits[KID] = b"x"
    rig.store.hours[OTHER, FIRST] = None
    await rig.judgement.look()
    (done,) = rig.store.rounds
    assert (done.keys, done.unreadable) == (1, 2)
    assert unpack(rig.store.habits[KID])[AGE] == 1


async def test_the_work_goes_on():
    """The work looks while the store is ours, and a fault does not end it."""
    rig, waits = Rig(3), []

    async def sleep(seconds):
        waits.append(seconds)
        rig.store.fails_after = None
        if len(waits) == 3:
            raise asyncio.CancelledError

    rig.store.fails_after = 0
    with pytest.raises(asyncio.CancelledError):
        await JUDGEMENTS.run(rig.judgement.look, lambda: len(waits) > 0, sleep)
    assert len(rig.store.rounds) == 1
