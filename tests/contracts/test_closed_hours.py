"""The ClosedHours port: one suite for counts in memory and on a real server."""

import pytest

from authz.core.errors import Unreadable
from authz.core.usage.counts import Field, Level
from authz.core.usage.tally import Clocks
from authz.storage import schema
from authz.storage.usage.closed_hours import StoredClosedHours
from authz.wiring.usage_readers import closed_hours
from tests.support.memory_usage import MemoryClosedHours, MemoryUsage
from tests.support.metered_partitions import COUNT, add_entries, stored_usage
from tests.support.real import RealClock
from tests.support.usage import KID, line

HOUR = 3_600_000
KEPT = dict.fromkeys(Level, 400 * 86_400)
OTHER, NEVER = "Q" * 16, "N" * 16


class Hours:
    """A store of usage, and the reader of its hours."""

    def __init__(self, store, reader):
        self.store, self.reader = store, reader
        self.now = RealClock().wall_ms()
        self.hour = self.now // HOUR

    async def add(self, ago=0, **fields):
        """Count one request that ended `ago` hours before now."""
        entry = line(started=self.now - ago * HOUR, milliseconds="0", **fields)
        clocks = Clocks.near(self.now, 900 * HOUR, HOUR)
        await add_entries(self.store, [entry], clocks, [entry], self.now)


@pytest.fixture(params=["memory", 1, COUNT])
async def hours(request):
    """A store of usage, in memory or on a real server with so many partitions."""
    clock = RealClock()
    if request.param == "memory":
        memory = MemoryUsage(clock)
        yield Hours(memory, MemoryClosedHours(memory))
        return
    async with stored_usage(request.getfixturevalue("valkey"), KEPT, request.param) as found:
        store, parts = found
        yield Hours(store, closed_hours(parts))


async def test_hours_of_keys(hours):
    """Counts are told by hour and route, of the hours that were asked for."""
    await hours.add()
    await hours.add(code="500")
    await hours.add(ago=3, route="-")
    await hours.add(ago=400)
    await hours.add(kid=OTHER, ago=3)
    one, other, never = await hours.reader.read(
        [KID, OTHER, NEVER], range(hours.hour - 400, hours.hour)
    )
    assert (one.kid, other.kid, never.kid) == (KID, OTHER, NEVER)
    assert {place: counts.requests for place, counts in one.counts.items()} == {
        (hours.hour - 3, ""): 1,
        (hours.hour - 400, "models"): 1,
    }
    assert other.counts[hours.hour - 3, "models"][Field.OK] == 1
    assert (never.counts, never.windows, never.owners) == ({}, frozenset(), {})
    (now,) = await hours.reader.read([KID], range(hours.hour, hours.hour + 1))
    assert now.counts[hours.hour, "models"][Field.SERVER_ERROR] == 1


async def test_windows_that_are_there(hours):
    """A window of which the store has something is named, also if no hour asked for has counts."""
    await hours.add(ago=2)
    window = (hours.hour - 2) // Level.HOUR.window
    (found,) = await hours.reader.read([KID], range(hours.hour - 2, hours.hour))
    assert window in found.windows
    first = window * Level.HOUR.window
    unused = next(hour for hour in range(first, first + 192) if hour != hours.hour - 2)
    (found,) = await hours.reader.read([KID], range(unused, unused + 1))
    assert (found.counts, found.windows) == ({}, frozenset({window}))
    (found,) = await hours.reader.read([KID], range(first - 192, first))
    assert found.windows == frozenset()


async def test_owners(hours):
    """Owners are those that usage has seen, by the hour from which on it saw them."""
    await hours.add(ago=5, owners="acme-web search acme pro live")
    await hours.add(ago=2, owners="globex - - - live")
    (found,) = await hours.reader.read([KID], range(hours.hour - 9, hours.hour))
    assert found.owners == {
        hours.hour - 5: "acme-web search acme pro live",
        hours.hour - 2: "globex - - - live",
    }


async def test_the_time_is_that_of_the_store(hours):
    """The time is near ours, because the test runs on one machine."""
    assert abs(await hours.reader.now_ms() - hours.now) < 3_600_000


async def test_a_garbled_row_names_its_key(valkey):
    """Nothing is guessed: the row and its key are named."""
    valkey.admin.hset(f"{schema.DEFAULT.usage}{KID}:h:0", "10001", "garbled")
    async with valkey.endpoint.client() as client:
        with pytest.raises(Unreadable, match=f"the usage of {KID}: 10001"):
            await StoredClosedHours(client).read([KID], range(10))
