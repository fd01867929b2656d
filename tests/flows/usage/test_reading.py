"""Questions about usage, on counts in memory."""

import pytest

from authz.core.errors import BadInput
from authz.core.usage.completeness import BLOCK, Completeness, ProcessSeen, completeness
from authz.core.usage.counts import Field, Level
from authz.core.usage.question import DAY_MS, HOUR_MS, By, TopBy, span
from authz.core.usage.tally import Clocks
from authz.flows.usage.reading import UsageReading
from tests.support.memory_usage import MemoryRanking, MemoryUsage, MemoryUsageIndex
from tests.support.usage import KID, NOW, PROCESS, committed, line, of_model

OTHER, THIRD = "Q" * 16, "T" * 16
START = NOW // DAY_MS * DAY_MS


class FixedClock:
    """A clock that stands."""

    def wall_ms(self):
        """Return NOW."""
        return NOW


def read(memory, index=None, ranked_since=0):
    """Return the reading of usage in memory. ranked_since: the first month that is ranked."""
    index = index or MemoryUsageIndex(memory)
    ranking = MemoryRanking(memory, ranked_since)
    return UsageReading(memory, memory, index, index, ranking=ranking, clock=FixedClock())


@pytest.fixture
async def memory():
    """Usage of three keys and of nobody, over two days."""
    memory = MemoryUsage(FixedClock())
    ago = DAY_MS
    entries = [
        line(),
        line(code="500", route="search"),
        line(started=NOW - ago - 12, charged="5"),
        line(kid=OTHER, code="403", reason="revoked", flags="UAEX", charged="-"),
        line(kid=OTHER, code="403", reason="revoked", flags="UAEX", charged="-"),
        line(kid=THIRD, charged="9"),
        line(kid="-", secret="-", reason="forged", flags="UAEX", code="401", owners="- - - - -"),
    ]
    await memory.commit(committed(*entries, clocks=Clocks.near(NOW, 2 * ago, ago)), [b"one"], NOW)
    return memory


@pytest.fixture
def reading(memory):
    """The reading of that usage."""
    return read(memory)


async def _each(*kids):
    for kid in kids:
        yield kid


def _span(by, days=2, *, of_keys=True):
    return span(NOW + 1 - days * DAY_MS, NOW + 1, by, of_keys=of_keys)


async def test_one_key_by_day(reading):
    """Each day has a row that begins with it, and the total is their sum."""
    report = await reading.of_key(KID, _span(By.DAY), By.DAY)
    assert {at: counts.requests for at, counts in report.groups.items()} == {
        START - DAY_MS: 1,
        START: 2,
    }
    assert (report.total.requests, report.total[Field.SERVER_ERROR], report.total.units) == (
        *(3, 1),
        7,
    )
    assert (report.keys, report.denials) == (1, {})


async def test_one_key_by_route(reading):
    """The routes of a key come from its hours."""
    report = await reading.of_key(KID, _span(By.ROUTE), By.ROUTE)
    assert {route: counts.requests for route, counts in report.groups.items()} == {
        "models": 2,
        "search": 1,
    }


async def test_models_of_one_key_of_several_and_of_all():
    """Groups are models; requests without one are left out, also of the total."""
    memory = MemoryUsage(FixedClock())
    entries = [
        line(),
        of_model("a", "complete:10:5:0:0:0"),
        of_model("a", "complete:1:1:0:0:0", started=NOW - DAY_MS - 12),
        of_model("b", "complete:2:0:0:0:0", kid=OTHER),
    ]
    near = Clocks.near(NOW, 2 * DAY_MS, DAY_MS)
    await memory.commit(committed(*entries, clocks=near), [b"one"], NOW)
    index = MemoryUsageIndex(memory)
    reading = read(memory, index)

    def inputs(report):
        return {name: counts[Field.INPUT_TOKENS] for name, counts in report.groups.items()}

    asked = _span(By.MODEL)
    assert inputs(await reading.of_key(KID, asked, By.MODEL)) == {"a": 11}
    assert inputs(await reading.of_keys(_each(KID, OTHER), asked, By.MODEL)) == {"a": 11, "b": 2}
    report = await reading.all_requests(asked, By.MODEL)
    assert inputs(report) == {"a": 11, "b": 2}
    assert (report.total.requests, report.total[Field.MICRO_USD]) == (3, 20 + 3 + 2)


async def test_denials_have_reasons(reading):
    """Denied requests of a key are told by reason."""
    report = await reading.of_key(OTHER, _span(By.MONTH, 1), By.MONTH)
    assert (report.total[Field.DENIED], report.denials) == (2, {"revoked": 2})


async def test_many_keys_are_summed(reading, monkeypatch):
    """Sums over keys do not depend on how many are read at once."""
    for chunk in (1, 2, 500):
        monkeypatch.setattr("authz.flows.usage.reading.CHUNK", chunk)
        report = await reading.of_keys(_each(KID, OTHER, THIRD), _span(By.DAY), By.DAY)
        assert (report.total.requests, report.keys, report.denials) == (6, 3, None)
    report = await reading.of_keys(_each(), _span(By.DAY), By.DAY)
    assert (report.total.requests, report.keys) == (0, 0)


async def test_all_requests_by_status(reading):
    """All requests, with and without a key, are told by status."""
    report = await reading.all_requests(_span(By.STATUS, of_keys=False), By.STATUS)
    assert {code: counts.requests for code, counts in report.groups.items()} == {
        "200": 3,
        "401": 1,
        "403": 2,
        "500": 1,
    }
    assert (report.denials, report.keys) == ({"forged": 1}, None)


@pytest.mark.parametrize(
    ("by", "kids"),
    [(TopBy.REQUESTS, [KID, OTHER]), (TopBy.UNITS, [THIRD, KID]), (TopBy.DENIED, [OTHER])],
)
async def test_top(reading, by, kids):
    """The keys with the largest number come first, and none with 0."""
    found = await reading.top(_span(By.DAY), by, 2)
    assert ([kid for kid, _ in found.keys], found.looked_at) == (kids, 3)


THIS_MONTH = span(NOW, NOW + 1, By.MONTH, of_keys=True)


class NoIndex(MemoryUsageIndex):
    """An index whose keys must not be read one after the other."""

    def used_since(self, since):
        """Refuse."""
        raise AssertionError(f"every key that was used since {since} would be read")


@pytest.mark.parametrize(
    ("by", "kids"),
    [(TopBy.REQUESTS, [KID, OTHER]), (TopBy.UNITS, [THIRD, KID]), (TopBy.DENIED, [OTHER])],
)
async def test_top_of_a_month(memory, by, kids):
    """The top of one month is read from its ranking; without one, from every key that was used."""
    for reading in (read(memory, NoIndex(memory)), read(memory, ranked_since=10**6)):
        found = await reading.top(THIS_MONTH, by, 2)
        assert ([kid for kid, _ in found.keys], found.looked_at) == (kids, 3)


async def test_top_of_a_month_for_a_reader_who_sees_few_keys(memory):
    """A ranking with too few visible keys is not enough. The number of the others stays hidden."""

    async def seen(kids):
        return [kid for kid in kids if kid == OTHER]

    found = await read(memory, NoIndex(memory)).top(THIS_MONTH, TopBy.REQUESTS, 1, seen)
    assert ([kid for kid, _ in found.keys], found.looked_at) == ([OTHER], 1)
    with pytest.raises(AssertionError, match="every key"):
        await read(memory, NoIndex(memory)).top(THIS_MONTH, TopBy.REQUESTS, 2, seen)


async def test_latest_use_and_counts_of_30_days(reading):
    """The latest use of a key and its requests of 30 days, also of many keys."""
    use = await reading.latest_use(KID)
    assert (use.latest.network, use.last_30_days.requests) == ("203.0.113.0/24", 3)
    assert use.secrets["s1"][1] == 3
    assert await reading.latest_times([KID, "N" * 16]) == {KID: use.latest.at}
    assert await reading.requests_of_30_days([KID, "N" * 16]) == {KID: 3, "N" * 16: 0}
    assert (await reading.latest_use("N" * 16)).latest is None


def test_completeness_of_all_processes():
    """A process that nothing came of misses all; one without an entry has its highest id."""
    found = [
        ProcessSeen(PROCESS, seen=8, highest=9, repeated=2, blocks={0: 8}),
        ProcessSeen("f" * 16, seen=BLOCK + 1, highest=BLOCK + 1, blocks={1: 2}),
    ]
    assert completeness({PROCESS: 10, "a" * 16: 5}, found) == Completeness(
        issued=10 + BLOCK + 1 + 5, seen=8 + BLOCK + 1, missing=2 + 5, repeated=2
    )
    assert completeness({}, []) == Completeness()


@pytest.mark.parametrize(
    ("came", "issued", "unheard"),
    [(0, 100, 0), (0, 101, 1), (9_900, 10_000, 0), (9_899, 10_000, 1), (99_000, 100_000, 0)],
)
def test_a_process_whose_usage_does_not_come(came, issued, unheard):
    """One process counts also beside others with a thousand times as many requests."""
    others = ProcessSeen("f" * 16, seen=10**8, highest=10**8)
    one = ProcessSeen(PROCESS, seen=came, highest=issued, lost=issued - came) if came else None
    found = completeness({PROCESS: issued}, [others, *([one] if one else [])])
    assert (found.unheard, found.is_enough) == (unheard, not unheard)


def test_a_process_has_charge_ids_in_each_partition():
    """Its parts are added up. It counts as one process whose usage does not come."""
    names = [f"{'ab' * 7}{partition:02x}" for partition in range(8)]
    found = completeness(dict.fromkeys(names, 13), [])
    assert found == Completeness(issued=104, missing=104, unheard=1)
    came = [ProcessSeen(name, seen=10, highest=10, blocks={0: 10}) for name in names]
    assert completeness(dict.fromkeys(names, 13), came) == Completeness(
        issued=104, seen=80, missing=24
    )


def test_a_span_has_whole_slots():
    """A span begins and ends with its slots."""
    hours = span(NOW - HOUR_MS, NOW, By.HOUR, of_keys=True)
    assert (hours.level, len(hours.slots), hours.since % HOUR_MS) == (Level.HOUR, 2, 0)
    assert hours.since <= NOW - HOUR_MS < NOW <= hours.until
    one = span(START, START + DAY_MS, By.DAY, of_keys=True)
    assert (one.since, one.until, list(one.days)) == (START, START + DAY_MS, [START // DAY_MS])


@pytest.mark.parametrize(
    ("since", "by", "of_keys", "field"),
    [
        (NOW, By.DAY, True, "since"),
        (NOW - 1, By.STATUS, True, "by"),
        (NOW - 100 * DAY_MS, By.HOUR, False, "since"),
        (0, By.DAY, True, "since"),
    ],
)
def test_spans_that_cannot_be_asked(since, by, of_keys, field):
    """An empty span, a span of too many slots, and the status of a key are refused."""
    with pytest.raises(BadInput) as caught:
        span(since, NOW, by, of_keys=of_keys)
    assert caught.value.field == field
