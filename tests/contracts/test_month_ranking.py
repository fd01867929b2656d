"""The MonthRanking port: one suite for counts in memory and on a real server."""

import contextlib
import random
from collections import Counter, defaultdict

import pytest

from authz.core.errors import Unreadable
from authz.core.usage.counts import Counts, Level, month_of
from authz.core.usage.question import TopBy
from authz.core.usage.tally import Clocks
from authz.storage.usage.many_keys import StoredUsageIndex
from authz.storage.usage.month_ranking import StoredRanking
from authz.wiring.usage_readers import ranking, usage_index
from tests.support.memory_usage import MemoryRanking, MemoryUsage, MemoryUsageIndex
from tests.support.metered_partitions import COUNT, add_entries, stored_usage
from tests.support.real import RealClock
from tests.support.storage import stored
from tests.support.usage import KID, line
from tests.support.usage_counting import open_link

BASE = stored.DEFAULT.usage
KEPT = dict.fromkeys(Level, 400 * 86_400)
DAY = 86_400_000
OTHER = "Q" * 16


class Ranked:
    """A store of usage, its ranking and its index."""

    def __init__(self, store, ranking, index):
        self.store, self.ranking, self.index = store, ranking, index
        self.now = RealClock().wall_ms()
        self.month = month_of(self.now // 60_000)

    async def add(self, *lines):
        """Commit entries."""
        clocks = Clocks.near(self.now, 90 * DAY, DAY)
        await add_entries(self.store, lines, clocks, [lines[0]], self.now)

    def line(self, kid=KID, **fields):
        """Return an entry that ended now."""
        return line(**({"kid": kid, "started": self.now, "milliseconds": "0"} | fields))

    async def number(self, kid, month, by):
        """Return what an order compares."""
        slots = range(month, month + 1)
        (counts,) = await self.index.many([kid], Level.MONTH, slots)
        return by.number_of(sum(counts.values(), Counts()))


@contextlib.asynccontextmanager
async def real(valkey, endpoint=None):
    """Usage on a real server."""
    valkey.admin.hset(stored.META, "schema", "1")
    async with (
        open_link(endpoint or valkey.endpoint, KEPT) as link,
        valkey.endpoint.client() as client,
    ):
        yield Ranked(link, StoredRanking(client), StoredUsageIndex(client))


@pytest.fixture(params=["memory", 1, COUNT])
async def usage(request):
    """A store of usage, in memory or on a real server with so many partitions."""
    if request.param == "memory":
        memory = MemoryUsage(RealClock())
        yield Ranked(memory, MemoryRanking(memory), MemoryUsageIndex(memory))
        return
    async with stored_usage(request.getfixturevalue("valkey"), KEPT, request.param) as found:
        store, parts = found
        yield Ranked(store, ranking(parts), usage_index(parts))


DENIED = {"code": "403", "reason": "revoked", "flags": "UAEX", "charged": "-"}
KINDS = [({}, 0, 1), ({}, 0, 1), ({"code": "500"}, 0, 1), ({"charged": "7"}, 0, 7), (DENIED, 1, 0)]
"""Fields of an entry, how many denied requests it is, and how many units."""


@pytest.mark.parametrize("seed", range(3))
async def test_the_largest_numbers_of_two_months(usage, seed):
    """Of 1,300 keys at least 500 are ranked, in order, and no key that is larger is left out."""
    rnd = random.Random(seed)
    kids = [f"{number:016d}" for number in range(1300)]
    sums = defaultdict(Counter)
    for _ in range(20):
        lines = []
        for kid in rnd.sample(kids, 300):
            ago, times = rnd.choice([0, 0, 32 * DAY]), rnd.randrange(1, 4)
            what, denied, units = rnd.choice(KINDS)
            lines += [usage.line(kid, started=usage.now - ago, **what) for _ in range(times)]
            month = month_of((usage.now - ago) // 60_000)
            sums[month, TopBy.REQUESTS][kid] += times
            sums[month, TopBy.DENIED][kid] += times * denied
            sums[month, TopBy.UNITS][kid] += times * units
        await usage.add(*lines)
    for month in (usage.month, month_of((usage.now - 32 * DAY) // 60_000)):
        for by in TopBy:
            ranked = await usage.ranking.ranked(month, by)
            numbers = {kid: sums[month, by][kid] for kid in kids}
            found = [numbers[kid] for kid in ranked]
            assert found == sorted(found, reverse=True)
            assert found[:500] == sorted(numbers.values(), reverse=True)[: len(found[:500])]
            assert len(set(ranked)) == len(ranked) <= 1000
            left_out = [numbers[kid] for kid in {*kids} - {*ranked}]
            assert max(left_out) <= (found[-1] if len(ranked) == 1000 else 0)


async def test_a_month_without_requests(usage):
    """Nothing is ranked in it, and that is known."""
    await usage.add(usage.line())
    assert await usage.ranking.ranked(usage.month - 5, TopBy.REQUESTS) == []
    assert await usage.ranking.ranked(usage.month, TopBy.REQUESTS) == [KID]


async def test_a_store_in_which_an_earlier_version_counted(valkey):
    """The months up to now are not known, later ones are."""
    valkey.admin.hset(f"{BASE}all:y", "600..200", b"\x91\x01")
    async with real(valkey) as usage:
        assert await usage.ranking.ranked(usage.month, TopBy.REQUESTS) is None
        await usage.add(usage.line())
        for month in (usage.month - 1, usage.month):
            assert await usage.ranking.ranked(month, TopBy.REQUESTS) is None
        assert await usage.ranking.ranked(usage.month + 3, TopBy.REQUESTS) == []


async def test_a_user_without_the_rights_counts_and_does_not_rank(valkey):
    """A rule of an earlier version lacks commands. Requests count, and the month is not known."""
    rules = ["~*", "&*", "+@all", "-zcard", "-zremrangebyrank"]
    valkey.admin.execute_command("ACL", "SETUSER", "meter", "reset", "on", ">pw", *rules)
    async with real(valkey, valkey.login("meter", "pw")) as usage:
        await usage.add(usage.line())
        assert await usage.number(KID, usage.month, TopBy.REQUESTS) == 1
        assert await usage.ranking.ranked(usage.month, TopBy.REQUESTS) is None


async def test_a_damaged_ranking_does_not_stop_the_meter(valkey):
    """Requests count, and the month is not known from then on."""
    async with real(valkey) as usage:
        await usage.add(usage.line())
        valkey.admin.set(f"{BASE}top:{usage.month}:requests", "garbage")
        await usage.add(usage.line(OTHER))
        assert await usage.number(OTHER, usage.month, TopBy.REQUESTS) == 1
        assert await usage.ranking.ranked(usage.month, TopBy.REQUESTS) is None


async def test_a_start_that_is_no_hash_does_not_stop_the_meter(valkey):
    """Requests count, and nothing is ranked."""
    valkey.admin.set(f"{BASE}ranked", "garbage")
    async with real(valkey) as usage:
        await usage.add(usage.line())
        assert await usage.number(KID, usage.month, TopBy.REQUESTS) == 1
    assert not valkey.admin.keys(f"{BASE}top:*")


async def test_a_garbled_start(valkey):
    """The start of the rankings is a number, or it is refused."""
    valkey.admin.hset(f"{BASE}ranked", "since", "x")
    async with valkey.endpoint.client() as client:
        with pytest.raises(Unreadable, match="ranked"):
            await StoredRanking(client).ranked(600, TopBy.REQUESTS)
