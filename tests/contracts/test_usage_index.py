"""The UsageIndex port: one suite for counts in memory and on a real server."""

import pytest

from authz.core.errors import Unreadable
from authz.core.usage.counts import Level
from authz.core.usage.tally import Clocks
from authz.storage import schema
from authz.storage.usage import many_keys
from authz.storage.usage.erasing import StoredEraser
from authz.storage.usage.many_keys import StoredUsageIndex
from authz.wiring.usage_readers import usage_index, usage_sums
from tests.support.memory_usage import MemoryUsage, MemoryUsageEraser, MemoryUsageIndex
from tests.support.metered_partitions import COUNT, add_entries, stored_usage
from tests.support.real import RealClock
from tests.support.usage import KID, line

DAY = 86_400_000
KEPT = dict.fromkeys(Level, 400 * 86_400)
OTHER, NEVER = "Q" * 16, "N" * 16


class Indexed:
    """A store of usage, its index and its reader."""

    def __init__(self, store, index, reader, eraser):
        self.store, self.index, self.reader, self.eraser = store, index, reader, eraser
        self.now = RealClock().wall_ms()

    async def add(self, kid=KID, ago=0, **fields):
        """Count one request that ended `ago` ms before now."""
        entry = line(kid=kid, started=self.now - ago, milliseconds="0", **fields)
        clocks = Clocks.near(self.now, 90 * DAY, DAY)
        await add_entries(self.store, [entry], clocks, [entry], self.now)

    async def used_since(self, since):
        """Return all kids that were used since a time in seconds."""
        return [kid async for page in self.index.used_since(since) for kid in page]


@pytest.fixture(params=["memory", 1, COUNT])
async def usage(request):
    """A store of usage, in memory or on a real server with so many partitions."""
    clock = RealClock()
    if request.param == "memory":
        memory = MemoryUsage(clock)
        yield Indexed(memory, MemoryUsageIndex(memory), memory, MemoryUsageEraser(memory))
        return
    async with stored_usage(request.getfixturevalue("valkey"), KEPT, request.param) as found:
        store, parts = found
        if request.param > 1:
            for kid in (KID, OTHER, NEVER):
                await store.home(line(kid=kid))
        yield Indexed(store, usage_index(parts), usage_sums(parts), parts.eraser)


@pytest.mark.parametrize("level", [Level.HOUR, Level.DAY, Level.MONTH])
async def test_many_keys_have_the_counts_of_each(usage, level):
    """`many` returns for each key what the reader returns for it, also over several windows."""
    for ago in (0, 40 * DAY, 41 * DAY, 70 * DAY):
        await usage.add(ago=ago)
        await usage.add(OTHER, ago=ago, route="-", code="500")
    first, last = (level.slot(at // 60_000) for at in (usage.now - 70 * DAY, usage.now))
    for slots in (range(first, last + 1), range(first, last), range(last, last + 1)):
        found = await usage.index.many([KID, NEVER, OTHER], level, slots)
        assert found[1] == {}
        assert found[0] == await usage.reader.counts(KID, level, slots)
        assert found[2] == await usage.reader.counts(OTHER, level, slots)
        assert found[0]
    assert await usage.index.many([], level, slots) == []


async def test_many_keys_by_minute(usage):
    """Minutes of several windows are read for many keys, too."""
    for minutes in (0, 7, 150):
        await usage.add(ago=minutes * 60_000)
    now = usage.now // 60_000
    for slots in (range(now - 151, now + 1), range(now - 100, now + 1), range(now - 3, now)):
        found = await usage.index.many([NEVER, KID], Level.MINUTE, slots)
        assert found == [{}, await usage.reader.counts(KID, Level.MINUTE, slots)]
    assert sum(len(each) for each in await usage.index.many([KID], Level.MINUTE, slots)) == 0
    whole = await usage.index.many([KID], Level.MINUTE, range(now - 151, now + 1))
    assert len(whole[0]) == 3


async def test_latest_use(usage):
    """The time is one in the minute of the latest use, and None for a key that was never used."""
    await usage.add(ago=3 * DAY)
    await usage.add(ago=5 * DAY)
    at = (usage.now - 3 * DAY) // 1000
    assert await usage.index.latest([NEVER, KID]) == [None, at]
    assert await usage.index.latest([]) == []
    assert await usage.used_since(at) == [KID]
    assert await usage.used_since(at // 60 * 60 + 59) == [KID]
    assert await usage.used_since(at // 60 * 60 + 60) == []


async def test_uses_within_a_minute(usage):
    """The first use of a minute that came gives the time. One of a later minute replaces it."""
    begins = (usage.now - 3_600_000) // 60_000 * 60_000
    for after, time in ((30, 30), (50, 30), (10, 30), (60, 60), (59, 60), (125, 125)):
        await usage.add(ago=usage.now - begins - after * 1000)
        assert await usage.index.latest([KID]) == [begins // 1000 + time]


async def test_pages_smaller_than_the_keys_of_one_second(usage, monkeypatch):
    """Every key is found, if more than a page of them were used in one second, too."""
    monkeypatch.setattr(many_keys, "PAGE", 2)
    kids = [f"{number:016d}" for number in range(7)]
    for kid in kids:
        await usage.add(kid)
    await usage.add(OTHER, ago=5000)
    assert set(await usage.used_since(usage.now // 1000 - 10)) == {*kids, OTHER}


async def test_a_garbled_row_is_unreadable(valkey):
    """A row that no meter wrote is not taken for counts."""
    valkey.admin.hset(f"{schema.DEFAULT.usage}{KID}", "y10", "x")
    async with valkey.endpoint.client() as client:
        with pytest.raises(Unreadable, match="y10"):
            await StoredUsageIndex(client).many([KID], Level.MONTH, range(10, 11))


async def test_erasing_keeps_counts_and_times(usage):
    """Networks and user agents go; counts, times and other keys stay. Once erased, nothing is."""
    await usage.add()
    await usage.add(secret="-", agent="wget/1", address="198.51.100.9")
    await usage.add(OTHER)
    await usage.add(reason="insufficient_scope", code="403", flags="UAEX")
    today = usage.now // DAY
    facts = await usage.reader.facts(KID)
    days = await usage.reader.days(KID, range(today, today + 1))
    assert await usage.eraser.erase(KID, today) > 0
    after = await usage.reader.facts(KID)
    sights = [after.latest, *(sight for sight, _ in after.secrets.values())]
    assert {(sight.network, sight.agent) for sight in sights} == {("", "")}
    assert after.latest.at == facts.latest.at
    assert after.denials == tuple(denial._replace(network="") for denial in facts.denials)
    assert len(after.denials) == 1
    assert [number for _, number in after.secrets.values()] == [2]
    counts = await usage.reader.counts(KID, Level.DAY, range(today, today + 1))
    assert counts[today, ""].requests == 3
    assert (await usage.reader.facts(OTHER)).latest.network == "203.0.113.0/24"
    assert set(await usage.reader.days(KID, range(today, today + 1))) == set(days)
    assert await usage.eraser.erase(KID, today) == 0
    assert await usage.eraser.erase(NEVER, today) == 0
    await usage.add()
    assert (await usage.reader.facts(KID)).latest.network == "203.0.113.0/24"


async def test_erasing_permanently_keeps_none_that_come_later(usage):
    """Requests of a deleted key that the meter counts later have counts and times alone."""
    today = usage.now // DAY
    for kid in (KID, NEVER):
        await usage.eraser.erase(kid, today, permanently=True)
        await usage.add(kid, address="198.51.100.9")
        await usage.add(kid, secret="-", agent="wget/1", address="203.0.113.9")
        await usage.add(kid, reason="revoked", code="401", flags="UAEX")
        facts = await usage.reader.facts(kid)
        sights = [facts.latest, *(sight for sight, _ in facts.secrets.values())]
        assert {(sight.network, sight.agent) for sight in sights} == {("", "")}
        assert facts.latest.at >= usage.now // 1000
        assert [(one.reason, one.network) for one in facts.denials] == [("revoked", "")]
        counts = await usage.reader.counts(kid, Level.DAY, range(today, today + 1))
        assert counts[today, ""].requests == 3
        assert await usage.eraser.erase(kid, today) == 0
        await usage.eraser.keep_again(kid)
        await usage.add(kid)
        assert (await usage.reader.facts(kid)).latest.network == "203.0.113.0/24"


async def test_garbled_facts_are_erased_as_a_whole(valkey):
    """A field that cannot be read may hold anything, so it goes."""
    name = f"{schema.DEFAULT.usage}{KID}"
    valkey.admin.hset(name, mapping={"last": "curl from home", "s:one": "\x01", "y10": "\x90"})
    valkey.admin.hset(name, "denied", "\x91\x01")
    async with valkey.endpoint.client() as client:
        assert await StoredEraser(client).erase(KID, 20_000) == 3
    assert valkey.admin.hkeys(name) == ["y10"]


async def test_a_deleted_key_without_usage_leaves_nothing_for_long(valkey):
    """Its mark goes once the meter takes no request of it; with usage it goes with the usage."""
    name = f"{schema.DEFAULT.usage}{KID}"
    async with valkey.endpoint.client() as client:
        await StoredEraser(client).erase(KID, 20_000, permanently=True)
        assert 2 * 3600 < valkey.admin.ttl(name) <= 3 * 3600
        valkey.admin.expire(name, 10**6)
        await StoredEraser(client).erase(KID, 20_000, permanently=True)
        assert valkey.admin.ttl(name) > 10**5
