"""Usage of a store with several partitions, on a real server: sums, lists, rankings and habits."""

import pytest

from authz.core.errors import Unavailable
from authz.core.selector import Position
from authz.core.usage.anomalies.features import Feature
from authz.core.usage.anomalies.judging import Reason
from authz.core.usage.anomalies.ports import Round
from authz.core.usage.anomalies.ranking import Anomaly
from authz.core.usage.billing.differences import closed_before
from authz.core.usage.completeness import Completeness
from authz.core.usage.counts import Level, month_of
from authz.core.usage.question import By, TopBy, span
from authz.core.usage.tally import Clocks
from authz.flows.usage.judgement import Judgement
from authz.wiring.usage_readers import (
    closed_hours,
    habits,
    last_use,
    ranking,
    usage_index,
    usage_reading,
    usage_sums,
)
from tests.support.metered_partitions import COUNT, KIDS, OWNERS, PARTITIONS, stored_usage
from tests.support.real import RealClock
from tests.support.usage import line, of_model

HOUR, DAY = 3_600_000, 86_400_000
KEPT = dict.fromkeys(Level, 400 * 86_400)


@pytest.fixture
async def store(valkey):
    """A store with eight partitions: adds entries, and its parts."""
    now = RealClock().wall_ms()
    async with stored_usage(valkey, KEPT) as (links, parts):

        async def add(*lines, name=b""):
            clocks = Clocks.near(now, 90 * DAY, DAY)
            await links.add(lines, clocks, [name or lines[0]], now)

        yield parts, add, now


def entry(now, kid=KIDS[0], **fields):
    """Return an entry that ended now, with the charge ids of its partition."""
    owners = OWNERS[PARTITIONS.of(kid)]
    return line(**{"kid": kid, "owners": owners, "started": now, "milliseconds": "0"} | fields)


async def test_a_report_of_all_requests(store):
    """Requests, models and denials of all partitions are added up, with and without a key."""
    parts, add, now = store
    denied = {"reason": "revoked", "code": "403", "flags": "UAEX", "charged": "-"}
    unproven = denied | {"kid": "-", "secret": "-", "reason": "forged"}
    await add(*(entry(now, kid) for kid in KIDS), name=b"one")
    await add(entry(now, KIDS[1], **denied), entry(now, KIDS[0]), name=b"two")
    await add(entry(now, **unproven), entry(now, **unproven), name=b"three")
    models = [of_model("m1", "1,2,0,0,0;-", kid=kid, started=now, milliseconds="0") for kid in KIDS]
    await add(*models, name=b"four")
    reading, wanted = usage_reading(parts), span(now - HOUR, now, By.STATUS, of_keys=False)
    report = await reading.all_requests(wanted, By.STATUS)
    numbers = {code: counts.requests for code, counts in report.groups.items()}
    assert numbers == {"200": 2 * COUNT + 1, "403": 3}
    assert report.denials == {"forged": 2}
    by_model = await reading.all_requests(
        span(now - 2 * DAY, now, By.MODEL, of_keys=False), By.MODEL
    )
    assert {model: counts.requests for model, counts in by_model.groups.items()} == {"m1": COUNT}
    of_key = await reading.of_key(KIDS[1], wanted, By.ROUTE)
    assert (of_key.total.requests, of_key.denials) == (3, {"revoked": 1})
    assert (await usage_sums(parts).sums())["entries"] == 2 * COUNT + 4
    latest = await reading.latest_times(KIDS)
    assert list(latest) == KIDS
    assert await parts.uses.requests_of_30_days(KIDS[:2]) == {KIDS[0]: 3, KIDS[1]: 3}


async def test_unused_keys(store):
    """A key of any partition that was used since is not among them."""
    parts, add, now = store
    await add(*(entry(now, kid) for kid in KIDS[:4]), name=b"one")
    await add(*(entry(now - 3 * DAY, kid) for kid in KIDS[4:6]), name=b"two")
    places = [Position(now - 9 * DAY, kid) for kid in KIDS]
    found = await last_use(parts).unused(places, now - DAY)
    assert found == set(KIDS[4:])


async def test_completeness_over_all_partitions(store):
    """A process is one with all of its prefixes; what is missing in one partition is missing."""
    parts, add, now = store
    prefixes = [f"{'ab' * 7}{at:02x}" for at in range(COUNT)]
    names = [client.names for client in parts.clients]
    for at, kid in enumerate(KIDS):
        ids = [number for number in range(1, 21) if (at, number) != (3, 7)]
        lines = [entry(now, kid, charge_id=f"{prefixes[at]}{number:012x}") for number in ids]
        await add(*lines)
        member = f"{prefixes[at]} {22 if at == 5 else 20} sidecar-1"
        await parts.clients[at].zadd(names[at].issued, {member: now})
    found = await usage_reading(parts).completeness()
    assert found == Completeness(issued=COUNT * 20 + 2, seen=COUNT * 20 - 1, missing=3)
    index = usage_index(parts)
    assert set(await index.issued()) == set(prefixes)
    assert {one.process for one in await index.processes()} == set(prefixes)


async def test_the_top_of_a_month(store):
    """Keys of all partitions stand in one order, by their numbers."""
    parts, add, now = store
    for number, kid in enumerate(KIDS, start=1):
        await add(*(entry(now, kid) for _ in range(number)))
    month = month_of(now // 60_000)
    ranked = await ranking(parts).ranked(month, TopBy.REQUESTS)
    assert ranked == KIDS[::-1]
    wanted = span(now - 1, now, By.MONTH, of_keys=True)
    top = await usage_reading(parts).top(wanted, TopBy.REQUESTS, 3)
    assert [kid for kid, _ in top.keys] == KIDS[:4:-1]
    days = span(now - DAY, now, By.DAY, of_keys=True)
    top = await usage_reading(parts).top(days, TopBy.REQUESTS, 3)
    assert ([kid for kid, _ in top.keys], top.looked_at) == (KIDS[:4:-1], COUNT)
    sums = await usage_reading(parts).sums(days, ["N" * 16])
    assert {kid: counts.requests for kid, counts in sums.items()} == dict(
        zip(KIDS, range(1, COUNT + 1), strict=True)
    )


async def test_a_month_that_one_partition_does_not_rank(store):
    """Then it is not ranked at all: some of its keys would be missing."""
    parts, add, now = store
    await add(*(entry(now, kid) for kid in KIDS))
    month = month_of(now // 60_000)
    assert len(await ranking(parts).ranked(month, TopBy.REQUESTS)) == COUNT
    base = parts.clients[2].names.usage
    await parts.clients[2].hset(f"{base}ranked", "since", month + 1)
    assert await ranking(parts).ranked(month, TopBy.REQUESTS) is None
    assert await ranking(parts).ranked(month + 1, TopBy.REQUESTS) == []


async def test_a_ranking_that_is_cut_off(store):
    """A key that the cut of another partition may have left out is not passed by a smaller one."""
    parts, add, now = store
    await add(*(entry(now, kid) for kid in KIDS))
    month = month_of(now // 60_000)
    many = {f"{number:016d}": 10 + number for number in range(1000)}
    for at, names in ((1, KIDS[1]), (2, KIDS[2])):
        base = parts.clients[at].names.usage
        low = {names: 1} if at == 2 else {}
        members = {f"{at}{kid[1:]}": number for kid, number in many.items()} if at == 1 else {}
        members |= low | ({"x" * 16: 9, "y" * 16: 11} if at == 2 else {})
        await parts.clients[at].delete(f"{base}top:{month}:requests")
        await parts.clients[at].zadd(f"{base}top:{month}:requests", members)
    ranked = await ranking(parts).ranked(month, TopBy.REQUESTS)
    assert len(ranked) == 1000
    assert "x" * 16 not in ranked
    assert not set(KIDS) & set(ranked)
    assert "y" * 16 in ranked


async def test_habits_and_anomalies(store):
    """Those of a key are in its partition; the lease and the round are in the first one."""
    parts, add, now = store
    hour = now // HOUR
    await add(*(entry(now, kid) for kid in KIDS))
    known = habits(parts)
    assert abs(await known.now_ms() - now) < HOUR
    assert await known.take_lease("one", 10_000)
    assert not await known.take_lease("two", 10_000)
    odd = [Anomaly(kid, hour, (Reason(Feature.RATE, 2, 1, 1),)) for kid in KIDS[:4]]
    await known.save({kid: kid.encode() for kid in KIDS}, odd)
    await known.finish(Round(hour, keys=COUNT))
    assert await known.latest() == Round(hour, keys=COUNT)
    found = await known.anomalies(range(hour, hour + 1))
    assert sorted(one.kid for one in found) == sorted(KIDS[:4])
    hours = await known.read(KIDS, hour)
    assert [(one.kid, one.habits, one.hour.requests) for one in hours] == [
        (kid, kid.encode(), 1) for kid in KIDS
    ]
    for client, kid in zip(parts.clients, KIDS, strict=True):
        assert await client.exists(f"{client.names.usage}{kid}:habits")
    assert [await client.exists(f"{client.names.usage}judged") for client in parts.clients] == [
        *(1, 0, 0, 0, 0, 0, 0, 0)
    ]


async def test_hours_are_judged_in_all_partitions(store):
    """One round judges the keys of every partition; with one of them away it begins again later."""
    parts, add, now = store
    closed = (closed_before(now) - 1) * HOUR
    await add(*(entry(closed, kid) for kid in KIDS))
    parts.missing[3] = Unavailable("it is away")
    with pytest.raises(Unavailable, match="partition 3: it is away"):
        await Judgement(habits(parts), usage_index(parts), "one").look()
    del parts.missing[3]
    judgement = Judgement(habits(parts), usage_index(parts), "one")
    assert await judgement.look()
    assert (judgement.rounds, judgement.keys) == (1, COUNT)
    for client, kid in zip(parts.clients, KIDS, strict=True):
        assert await client.exists(f"{client.names.usage}{kid}:habits")
    other = Judgement(habits(parts), usage_index(parts), "two")
    assert not await other.look()


async def test_a_partition_that_cannot_be_read(store):
    """Sums fail and name it; keys of other partitions can be read."""
    parts, add, now = store
    await add(*(entry(now, kid) for kid in KIDS))
    parts.missing[3] = Unavailable("it is away")
    reading = usage_reading(parts)
    hours = span(now - HOUR, now, By.HOUR, of_keys=True)
    for asking in (
        reading.all_requests(hours, By.HOUR),
        reading.top(hours, TopBy.REQUESTS, 3),
        reading.completeness(),
        closed_hours(parts).now_ms(),
        usage_index(parts).latest(KIDS),
    ):
        with pytest.raises(Unavailable, match="partition 3: it is away"):
            await asking
    others = [kid for kid in KIDS if PARTITIONS.of(kid) != 3]
    assert list(await reading.latest_times(others)) == others
