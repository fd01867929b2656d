"""The UsageStore and UsageReader ports: one suite for counts in memory and on a real server."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from authz.core.usage.commit import KEPT_DENIALS, Commit, Denial, Sight
from authz.core.usage.completeness import BLOCK, missing
from authz.core.usage.counts import LARGEST, Counts, Field, Level, month_of
from authz.core.usage.ports import Closed, Counted, DayFacts, Known, TooOld
from authz.core.usage.tally import Clocks
from authz.wiring.usage_readers import usage_index, usage_sums
from tests.support.memory_usage import MemoryUsage
from tests.support.metered_partitions import COUNT, add_entries, stored_usage
from tests.support.real import RealClock
from tests.support.usage import KID, PROCESS, committed, line, of_model


class CountsOfAll:
    """The counts and the processes of a store, asked as one."""

    def __init__(self, *parts):
        self._parts = parts

    def __getattr__(self, name):
        """Return the method of the part that has it."""
        return next(getattr(part, name) for part in self._parts if hasattr(part, name))


HOUR = 3_600_000
KEPT = {
    Level.MINUTE: 7200,
    Level.HOUR: 35 * 86_400,
    Level.DAY: 390 * 86_400,
    Level.MONTH: 5 * 366 * 86_400,
}
OTHER = "Q" * 16


@dataclass
class Usage:
    """A store of usage, and what reads it. Entries end at `now`, in ms."""

    store: Any
    reader: Any
    now: int

    @property
    def minute(self):
        return self.now // 60_000

    def entry(self, ago=0, **fields):
        """Return a log entry that ended `ago` ms before now."""
        milliseconds = fields.setdefault("milliseconds", "0")
        return line(**{"started": self.now - ago - int(milliseconds)} | fields)

    async def add(self, *lines, digest=b"", arrived=None):
        """Commit these entries as one batch."""
        clocks = Clocks.near(self.now, 90 * 24 * HOUR, HOUR)
        digests = [digest or lines[0]]
        return await add_entries(self.store, lines, clocks, digests, arrived or self.now)

    async def row(self, level, kid=KID, route=""):
        """The counts of a key in the present slot."""
        slot = level.slot(self.minute)
        return (await self.reader.counts(kid, level, range(slot, slot + 1))).get(
            (slot, route), Counts()
        )


@pytest.fixture(params=["memory", 1, COUNT])
async def usage(request):
    """A store of usage, in memory or on a real server with so many partitions."""
    clock = RealClock()
    now = clock.wall_ms()
    if request.param == "memory":
        memory = MemoryUsage(clock)
        yield Usage(memory, memory, now)
        return
    async with stored_usage(request.getfixturevalue("valkey"), KEPT, request.param) as found:
        store, parts = found
        yield Usage(store, CountsOfAll(usage_sums(parts), usage_index(parts)), now)


async def test_every_level(usage):
    """A request is counted by minute, hour, day and month; the route only by hour."""
    reply = await usage.add(usage.entry(), usage.entry(code="500", milliseconds="1200"))
    assert reply == Counted()
    for level in Level:
        counts = await usage.row(level, route="models" if level is Level.HOUR else "")
        assert (counts[Field.OK], counts[Field.SERVER_ERROR]) == (1, 1)
        assert counts[Field.MILLISECONDS] == 1200
        assert (counts[Field.SLOW_100_MS], counts[Field.SLOW_1_S]) == (1, 1)
    await usage.add(usage.entry(route="-", charged="7"))
    assert (await usage.row(Level.HOUR)).requests == 1
    assert (await usage.row(Level.DAY)).requests == 3
    assert (await usage.row(Level.DAY)).units == 9


async def test_slots_of_other_windows(usage):
    """Requests of other days and months are in slots of their own, and are found there."""
    ages = [0, HOUR, 20 * 24 * HOUR, 62 * 24 * HOUR]
    for ago in ages:
        await usage.add(usage.entry(ago))
    days = range(usage.minute // 1440 - 70, usage.minute // 1440 + 1)
    found = await usage.reader.counts(KID, Level.DAY, days)
    assert sum(counts.requests for counts in found.values()) == 4
    month = month_of(usage.minute)
    months = await usage.reader.counts(KID, Level.MONTH, range(month - 3, month + 1))
    assert sum(counts.requests for counts in months.values()) == 4
    assert len(months) >= 2
    assert await usage.reader.counts(KID, Level.DAY, range(days[0], days[0])) == {}


def denied(usage, ago=0, **fields):
    """Return an entry of a request that was denied `ago` ms before now."""
    return usage.entry(
        ago, **{"reason": "insufficient_scope", "code": "403", "flags": "UAEX"} | fields
    )


async def test_the_latest_denials(usage):
    """Denials of a minute, reason, route and code are one, with the facts of the latest."""
    start = usage.minute * 60_000
    await usage.add(denied(usage, usage.now - start, address="198.51.100.9"), usage.entry())
    await usage.add(denied(usage, usage.now - start - 1000), denied(usage, HOUR, route="-"))
    reason = "insufficient_scope"
    latest = Denial(start // 1000 + 1, reason, "models", "403", "203.0.113.0/24", "GET", 2)
    earlier = Denial((usage.now - HOUR) // 1000, reason, "", "403", "203.0.113.0/24", "GET", 1)
    assert (await usage.reader.facts(KID)).denials == (latest, earlier)
    assert (await usage.reader.facts(OTHER)).denials == ()


async def test_the_number_of_denials_is_bounded(usage):
    """The latest are kept, whatever the order in which they come."""
    minutes = [minute * 60_000 for minute in range(KEPT_DENIALS + 5)]
    await usage.add(*(denied(usage, ago) for ago in minutes[10:]), digest=b"late")
    await usage.add(*(denied(usage, ago) for ago in minutes[:10]), digest=b"early")
    found = (await usage.reader.facts(KID)).denials
    assert [denial.at for denial in found] == [
        (usage.now - ago) // 1000 for ago in minutes[:KEPT_DENIALS]
    ]


async def test_a_batch_counts_once(usage):
    """A batch with a digest that is known adds nothing, nor do those that came with it."""
    entry = usage.entry()
    assert await usage.add(entry, digest=b"one") == Counted()
    assert await usage.add(entry, digest=b"one") == Known(frozenset({b"one"}))
    commit = committed(entry, usage.entry(), clocks=Clocks.near(usage.now, HOUR, HOUR))
    reply = await usage.store.commit(commit, [b"two", b"one", b"three"], usage.now)
    assert reply == Known(frozenset({b"one"}))
    assert (await usage.row(Level.DAY)).requests == 1
    reply = await usage.store.commit(commit, [b"two", b"three"], usage.now)
    assert reply == Counted()
    assert (await usage.row(Level.DAY)).requests == 3


async def test_a_batch_that_waited_too_long(usage):
    """After an hour a batch is not counted: somebody else may have counted it long ago."""
    assert await usage.add(usage.entry(), arrived=usage.now - HOUR - 60_000) == TooOld()
    assert await usage.row(Level.DAY) == Counts()


async def test_a_commit_that_is_late(usage):
    """After `until_ms` a commit adds nothing, and its digests stay unknown."""
    commit = committed(usage.entry(), clocks=Clocks.near(usage.now, HOUR, HOUR))
    commit.until_ms = usage.store.now_ms() - 1
    assert await usage.store.commit(commit, [b"one"], usage.now) == Closed()
    assert await usage.row(Level.DAY) == Counts()
    commit.until_ms = usage.now + HOUR
    assert await usage.store.commit(commit, [b"one"], usage.now) == Counted()
    commit.until_ms = usage.now - 1
    assert await usage.store.commit(commit, [b"one"], usage.now) == Known(frozenset({b"one"}))


async def test_totals(usage):
    """All requests are counted by route and code, with or without a key."""
    await usage.add(
        usage.entry(),
        usage.entry(kid=OTHER, grpc="8"),
        usage.entry(kid="-", secret="-", reason="forged", code="401", flags="UAEX", route="-"),
    )
    for level in Level:
        slot = level.slot(usage.minute)
        found = await usage.reader.totals(level, range(slot, slot + 1))
        assert {name: counts.requests for name, counts in found.items()} == {
            (slot, "models", "200"): 1,
            (slot, "models", "200/8"): 1,
            (slot, "", "401"): 1,
        }


async def test_models(usage):
    """Tokens and their cost are counted by day and model, for each key and over all requests."""

    def entry(model, tokens, **fields):
        return of_model(model, tokens, started=usage.now, milliseconds="0", **fields)

    await usage.add(
        entry("gpt-4.1", "complete:10:5:0:0:0"),
        entry("gpt-4.1", "complete:3:1:0:0:0", kid=OTHER),
        entry("claude-n", "complete:7:0:0:0:0"),
        usage.entry(),
    )
    await usage.add(entry("gpt-4.1", "complete:2:0:0:0:0"))
    day = Level.DAY.slot(usage.minute)

    async def found(kid, days=range(day, day + 1)):
        counts = await usage.reader.models(kid, days)
        return {
            name: (each.requests, each[Field.INPUT_TOKENS], each[Field.MICRO_USD])
            for name, each in counts.items()
        }

    assert await found(KID) == {(day, "gpt-4.1"): (2, 12, 22), (day, "claude-n"): (1, 7, 7)}
    assert await found(OTHER) == {(day, "gpt-4.1"): (1, 3, 5)}
    assert await found("") == {(day, "gpt-4.1"): (3, 15, 27), (day, "claude-n"): (1, 7, 7)}
    assert await found(KID, range(day - 9, day)) == await found("T" * 16) == {}
    assert (await usage.row(Level.DAY)).requests == 4
    assert set(await usage.reader.days(KID, range(day, day + 1))) == {day}


async def test_denials_and_networks(usage):
    """A day has refusals by reason, and the number of networks."""
    await usage.add(
        usage.entry(address="203.0.113.9"),
        usage.entry(address="2001:db8::1"),
        usage.entry(reason="revoked", flags="UAEX", code="401", charged="-"),
        usage.entry(kid="-", secret="-", reason="forged", code="401", flags="UAEX"),
    )
    await usage.add(usage.entry(reason="revoked", flags="UAEX", code="401", charged="-"))
    day = usage.minute // 1440
    assert await usage.reader.days(KID, range(day, day + 1)) == {day: DayFacts({"revoked": 2}, 2)}
    assert await usage.reader.days("", range(day, day + 1)) == {day: DayFacts({"forged": 1}, 0)}


async def test_the_latest_use(usage):
    """A key and each secret have their latest use; older entries that come late change nothing."""
    second = usage.now // 1000
    await usage.add(usage.entry(secret="s2", agent="new/1"))
    await usage.add(usage.entry(60_000, secret="s1", address="192.0.2.1"), usage.entry(secret="s2"))
    facts = await usage.reader.facts(KID)
    assert facts.latest == Sight(second, "203.0.113.0/24", "curl")
    assert facts.secrets["s1"] == (Sight((usage.now - 60_000) // 1000, "192.0.2.0/24", "curl"), 1)
    assert facts.secrets["s2"][1] == 2
    await usage.add(usage.entry(120_000, agent="late/1"))
    assert (await usage.reader.facts(KID)).latest == facts.latest
    assert (await usage.reader.facts(OTHER)).latest is None


async def test_owners(usage):
    """Usage names the owners of a key at its time, and since when."""
    hour = usage.minute // 60
    await usage.add(usage.entry(3 * HOUR, owners="acme - - free live"))
    await usage.add(usage.entry(owners="acme - - pro live"))
    await usage.add(usage.entry(owners="acme - - pro live"))
    facts = await usage.reader.facts(KID)
    assert facts.owners == {hour - 3: "acme - - free live", hour: "acme - - pro live"}


async def test_what_came_of_a_process(usage):
    """Of each process it is known how many entries came, and which part is missing."""
    ids = [*range(1, 101), *range(BLOCK, 2 * BLOCK), 3 * BLOCK + 7]
    for at in range(0, len(ids), 1000):
        part = ids[at : at + 1000]
        await usage.add(*(usage.entry(charge_id=f"{PROCESS}{count:012x}") for count in part))
    commit = Commit(repeated={PROCESS: 5})
    await usage.store.commit(commit, [], usage.now)
    [found] = await usage.reader.processes()
    assert (found.process, found.seen, found.highest) == (PROCESS, len(ids), ids[-1])
    assert (found.repeated, found.lost, found.extra) == (5, 0, 0)
    assert found.blocks == {0: 100, 2: 0, 3: 1}
    assert missing(found, 100) == 0
    assert missing(found, BLOCK - 1) == BLOCK - 101
    assert missing(found, 2 * BLOCK - 1) == BLOCK - 101
    assert missing(found, ids[-1]) == ids[-1] - len(ids)
    assert missing(found, 5 * BLOCK - 1) == 5 * BLOCK - 1 - len(ids)
    # A second logger sends entries of a block that is complete.
    await usage.add(usage.entry(charge_id=f"{PROCESS}{BLOCK + 3:012x}"))
    [found] = await usage.reader.processes()
    assert found.extra == 1
    assert missing(found, ids[-1]) == ids[-1] - len(ids)


async def test_sums(usage):
    """Entries, and those with a time that is off, are counted over all time."""
    await usage.add(usage.entry(), usage.entry(200 * 24 * HOUR))
    assert await usage.reader.sums() == {"entries": 2, "misdated": 1}


async def test_counters_refuse_to_wrap(usage):
    """A counter stays at 2^53 - 1, and the reply says so."""
    big = str(LARGEST - 5)
    await usage.add(usage.entry(sent=big))
    reply = await usage.add(usage.entry(sent="5000"))
    assert reply.full > 0
    counts = await usage.row(Level.DAY)
    assert (counts[Field.BYTES_OUT], counts.requests) == (LARGEST, 2)


async def test_commits_at_once(usage):
    """Many commits at a time add up, each once."""
    entries = [usage.entry() for _ in range(50)]
    async with asyncio.TaskGroup() as tasks:
        for entry in entries * 2:
            tasks.create_task(usage.add(entry))
    assert (await usage.row(Level.DAY)).requests == 50
