"""Open usage is folded into packed counts, and nothing is lost or counted twice."""

import asyncio
import random
from collections import defaultdict

import pytest

from authz.core.errors import Unreadable
from authz.core.usage.counts import FIELDS, Level, month_of
from authz.core.usage.question import TopBy
from authz.core.usage.tally import Clocks
from authz.storage.usage.closed_hours import StoredClosedHours
from authz.storage.usage.many_keys import StoredUsageIndex
from authz.storage.usage.month_ranking import StoredRanking
from authz.storage.usage.stored_usage import StoredUsage
from authz.storage.usage.usage_script import COMMIT
from tests.support.memory_usage import MemoryUsage
from tests.support.real import RealClock
from tests.support.storage import stored
from tests.support.usage import committed, line, of_model
from tests.support.usage_counting import linked

BASE = stored.DEFAULT.usage
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
KEPT = dict.fromkeys(Level, 400 * 86_400)
KIDS = tuple(f"{number:016d}" for number in range(3))


def history(rnd, now, kids=KIDS):
    """Yield commits, each as its entries: mostly in order of time, some of them late."""
    at = now - 62 * DAY
    for _ in range(260):
        at = min(now, at + rnd.choice([0, 0, 20_000, MINUTE, HOUR, 6 * HOUR, 9 * DAY]))
        yield [entry(rnd, at, rnd.choice(kids)) for _ in range(rnd.randrange(1, 6))]


def entry(rnd, at, kid):
    """Return an entry that ended at `at` or up to two hours before."""
    late = rnd.choice([0, 0, 0, 0, rnd.randrange(90_000), rnd.randrange(2 * HOUR)])
    fields = {
        "kid": kid,
        "secret": rnd.choice(["s1", "s1", "s2", "-"]),
        "route": rnd.choice(["models", "models", "files", "-"]),
        "address": rnd.choice(["203.0.113.7", "203.0.113.7", "198.51.100.1", "192.0.2.4"]),
        "sent": str(rnd.choice([0, 100, 20_000, 2**30, 2**45])),
        "charged": rnd.choice(["0", "1", "7"]),
        "milliseconds": rnd.choice(["0", "12", "1500"]),
        "agent": rnd.choice(["curl/8", "python-requests/2"]),
    }
    fields["started"] = at - late - int(fields["milliseconds"])
    kind = rnd.randrange(10)
    if kind == 0:
        fields |= {"reason": "insufficient_scope", "code": "403", "flags": "UAEX", "charged": "-"}
    elif kind == 1:
        fields |= {"code": "503"}
    elif kind == 2:
        return of_model("gpt-4.1", "complete:10:5:0:0:0", **fields)
    return line(**fields)


async def play(link, memory, rnd, now):
    """Commit a history to both. Return whether both say the same."""
    is_equal = True
    for number, entries in enumerate(history(rnd, now)):
        digest, clocks = b"%d" % number, Clocks.near(now, 90 * DAY, HOUR)
        reply = await link.commit(committed(*entries, clocks=clocks), [digest], now)
        is_equal &= reply == await memory.commit(committed(*entries, clocks=clocks), [digest], now)
    return is_equal


def padded(counts):
    """Return the numbers of all fields. Those of counts in memory may end earlier."""
    return (*counts.numbers, *[0] * (FIELDS - len(counts.numbers)))


async def shown(reader, kid, now):
    """Return everything that a reader tells about a key."""
    minute = now // MINUTE
    first = minute - 70 * 1440
    found = {}
    for level in Level:
        slots = range(level.slot(first), level.slot(minute) + 1)
        counts = await reader.counts(kid, level, slots)
        found[level] = {place: padded(each) for place, each in counts.items()}
    facts = await reader.facts(kid)
    latest = facts.latest.at if facts.latest else None
    secrets = {name: (sight.at, number) for name, (sight, number) in facts.secrets.items()}
    days = await reader.days(kid, range(first // 1440, minute // 1440 + 1))
    found["denials"] = {day: each.denials for day, each in days.items() if each.denials}
    return found | {"latest": latest, "secrets": secrets, "owners": facts.owners}


@pytest.mark.parametrize("seed", range(6))
async def test_every_history_adds_up(valkey, seed):
    """All levels, facts and the ranking are those of counts in memory, folded or not."""
    rnd, clock = random.Random(seed), RealClock()
    now, memory = clock.wall_ms(), MemoryUsage(clock)
    async with linked(valkey) as link, valkey.endpoint.client() as client:
        assert await play(link, memory, rnd, now)
        assert len(valkey.admin.keys(f"{BASE}*:ph")) == len(KIDS)
        for kid in KIDS:
            assert await shown(StoredUsage(client), kid, now) == await shown(memory, kid, now)
        months, month = defaultdict(int), month_of(now // MINUTE)
        for kid in KIDS:
            for (at, _), counts in (
                await memory.counts(kid, Level.MONTH, range(month, month + 1))
            ).items():
                assert at == month
                months[kid] = counts.requests
        ranked = await StoredRanking(client).ranked(month, TopBy.REQUESTS)
        assert [months[kid] for kid in ranked] == sorted(months.values(), reverse=True)
        scores = valkey.admin.zrange(f"{BASE}top:{month}:requests", 0, -1, withscores=True)
        assert dict(scores) == months


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("  state[NUMBER] = 0\n", ""),
        ("state[BASE], state[MINUTE], state[ROUTE], state[ROW] = 0, 0, 0, {}", ""),
        ("    fold(state, rows)\n    rows = ''", "    fold(state, rows)"),
        ("add_rows(sums, rows, slot, 1, width)", ""),
        ("month ~= state[MONTH] or minute < state[BASE]", "minute < state[BASE]"),
        ("may_overwrite and #text == start and rows == before", "may_overwrite and #text == start"),
        ("may_overwrite and #text == start and rows == before", "may_overwrite and rows == before"),
        ("return '\\128\\0' .. packed(-number)", "return packed(-number)"),
    ],
)
async def test_a_wrong_script_is_found(valkey, right, wrong):
    """The histories of the test above tell these mutants from the script."""
    assert right in COMMIT
    clock = RealClock()
    now, memory = clock.wall_ms(), MemoryUsage(clock)
    async with (
        linked(valkey, script=COMMIT.replace(right, wrong)) as link,
        valkey.endpoint.client() as client,
    ):
        is_equal = await play(link, memory, random.Random(0), now)
        right_ones = [await shown(memory, kid, now) for kid in KIDS]
        try:
            found = [await shown(StoredUsage(client), kid, now) for kid in KIDS]
        except Unreadable:
            return
        assert not is_equal or found != right_ones


async def test_readers_see_a_fold_whole(valkey):
    """Counts that are read while commits fold never go down, and no reader sees them twice."""
    now, kid, total = RealClock().wall_ms(), KIDS[0], 400
    minute = now // MINUTE
    async with linked(valkey) as link, valkey.endpoint.client() as client:
        reader, many, hours = (
            StoredUsage(client),
            StoredUsageIndex(client),
            StoredClosedHours(client),
        )

        async def commit():
            for number in range(total):
                entries = [line(kid=kid, started=now - (total - number) * MINUTE, milliseconds="0")]
                found = committed(*entries, clocks=Clocks.near(now, DAY, HOUR))
                await link.commit(found, [b"%d" % number], now)

        async def months():
            month = month_of(minute)
            slots = range(month - 1, month + 1)
            [found] = await many.many([kid], Level.MONTH, slots)
            return sum(counts.requests for counts in found.values())

        async def of_hours():
            last = minute // 60
            [found] = await hours.read([kid], range(last - 24, last + 1))
            return sum(counts.requests for counts in found.counts.values())

        async def of_secret():
            return (await reader.facts(kid)).secrets.get("s1", (None, 0))[1]

        async def look(reads):
            before = 0
            while before < total:
                found = await reads()
                assert before <= found <= total
                before = found

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(commit())
            for reads in (months, of_hours, of_secret):
                tasks.create_task(look(reads))
    assert valkey.admin.exists(f"{BASE}{kid}:ph")


def at_each_hour(now, hours):
    """Return a commit with one request at the end of each of some hours before now."""
    return [line(kid=KIDS[0], started=now - ago * HOUR, milliseconds="0") for ago in hours]


async def test_expired_hours_go_by_whole_windows(valkey):
    """A window of hours stays whole until all of it has expired; then the next fold removes it."""
    now = RealClock().wall_ms()
    kept = KEPT | {Level.HOUR: 3 * 86_400}
    spans = range(60 * 24, -1, -2)
    async with linked(valkey, kept) as link, valkey.endpoint.client() as client:
        for number, ago in enumerate(spans):
            found = committed(*at_each_hour(now, [ago]), clocks=Clocks.near(now, 90 * DAY, HOUR))
            await link.commit(found, [b"%d" % number], now)
        hour = now // HOUR
        hours = range(hour - 61 * 24, hour + 1)
        [found] = await StoredClosedHours(client).read([KIDS[0]], hours)
        days = await StoredUsage(client).counts(
            KIDS[0], Level.DAY, range(hour // 24 - 62, hour // 24 + 1)
        )
    assert sum(counts.requests for counts in days.values()) == len(spans)
    windows = {each // Level.HOUR.window for each in (now // HOUR - ago for ago in spans)}
    oldest = (hour - 3 * 24) // Level.HOUR.window
    assert min(windows) < oldest
    assert found.windows == {window for window in windows if window >= oldest}
    wanted = {hour - ago for ago in spans if (hour - ago) // Level.HOUR.window >= oldest}
    assert {each for each, _ in found.counts} == wanted


async def test_a_window_that_expired_is_not_named(valkey):
    """Open usage of a window whose folded part has expired is not all that it had."""
    now = RealClock().wall_ms()
    async with linked(valkey) as link, valkey.endpoint.client() as client:
        for number in range(60):
            entries = at_each_hour(now - (60 - number) * MINUTE, [0])
            found = committed(*entries, clocks=Clocks.near(now, DAY, HOUR))
            await link.commit(found, [b"%d" % number], now)
        hours = range(now // HOUR - 2, now // HOUR + 1)
        [before] = await StoredClosedHours(client).read([KIDS[0]], hours)
        valkey.admin.delete(f"{BASE}{KIDS[0]}:ph")
        [after] = await StoredClosedHours(client).read([KIDS[0]], hours)
    assert (now // HOUR) // Level.HOUR.window in before.windows
    assert after.windows == frozenset()


@pytest.mark.parametrize("suffix", [":o", ":ph", ":pd", ":pm"])
@pytest.mark.parametrize("data", ["x", "\x01" * 40, "\x80" * 300, "\x01" * 300])
async def test_damaged_counts_are_not_added_to(valkey, suffix, data):
    """The key is reported, nothing of it changes, and other keys are counted."""
    now = RealClock().wall_ms()
    clocks = Clocks.near(now, DAY, HOUR)
    name = f"{BASE}{KIDS[0]}"
    async with linked(valkey) as link, valkey.endpoint.client() as client:
        valkey.admin.set(name + suffix, data)
        garbled = 0
        for number in range(60):
            started = now - (60 - number) * MINUTE
            entries = [line(kid=kid, started=started, milliseconds="0") for kid in KIDS[:2]]
            found = committed(*entries, clocks=clocks)
            reply = await link.commit(found, [b"%d" % number], now)
            garbled += reply.garbled
        assert garbled > 0
        assert valkey.admin.get(name + suffix) == data
        day = now // DAY
        level = Level(suffix[-1]) if suffix != ":o" else Level.DAY
        minute = now // MINUTE
        slots = range(level.slot(minute - 120), level.slot(minute) + 1)
        with pytest.raises(Unreadable):
            await StoredUsage(client).counts(KIDS[0], level, slots)
        whole = await StoredUsage(client).counts(KIDS[1], Level.DAY, range(day - 1, day + 1))
    assert sum(counts.requests for counts in whole.values()) == 60


async def test_counts_of_the_former_version_go_on(valkey):
    """Rows in hashes, as the former version wrote them, are added to what is counted now."""
    now, kid = RealClock().wall_ms(), KIDS[0]
    minute, row = now // MINUTE, b"\x92\x05\x07"  # 5 requests, 7 bytes
    raw, name = valkey.raw(), f"{BASE}{kid}"
    raw.hset(f"{name}:m:{minute // 120}", str(minute), row)
    raw.hset(f"{name}:h:{minute // 60 // 192}", str(minute // 60 % 192 * 10_000 + 1), row)
    raw.hset(f"{name}:d:{minute // 1440 // 128}", str(minute // 1440), row)
    raw.hset(name, f"y{month_of(minute)}", row)
    raw.hset(name, "s:s1", b"\x94\x01\xa0\xa0\x05")
    raw.hset(f"{BASE}routes", "models", "1")
    async with linked(valkey) as link, valkey.endpoint.client() as client:
        entries = [line(kid=kid, started=now, milliseconds="0", received="1") for _ in range(3)]
        await link.commit(committed(*entries, clocks=Clocks.near(now, DAY, HOUR)), [b"one"], now)
        reader, many = StoredUsage(client), StoredUsageIndex(client)
        for level in Level:
            slot = level.slot(minute)
            slots = range(slot, slot + 1)
            wanted = (slot, "models" if level is Level.HOUR else "")
            for found in (
                await reader.counts(kid, level, slots),
                *await many.many([kid], level, slots),
            ):
                assert {place: each.requests for place, each in found.items()} == {wanted: 8}
                assert found[wanted].numbers[1] == 10
        assert (await reader.facts(kid)).secrets["s1"][1] == 8
        [ranked] = valkey.admin.zrange(
            f"{BASE}top:{month_of(minute)}:requests", 0, -1, withscores=True
        ) or [("", 0)]
        assert tuple(ranked) == (kid, 8)
