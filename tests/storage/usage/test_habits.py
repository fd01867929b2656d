"""Habits, hours and callers in a real store."""

import contextlib
from random import Random

import pytest

from authz.core.usage.anomalies.features import Feature, Gap, Reason
from authz.core.usage.anomalies.habits import fresh, pack
from authz.core.usage.anomalies.judging import Callers
from authz.core.usage.anomalies.ports import Round
from authz.core.usage.anomalies.ranking import Anomaly
from authz.core.usage.anomalies.sightings import Seen, Sightings
from authz.core.usage.commit import Commit, KeyUsage
from authz.core.usage.counts import Level
from authz.core.usage.ports import Counted
from authz.core.usage.tally import Clocks
from authz.storage import schema
from authz.storage.usage import rows
from authz.storage.usage.erasing import StoredEraser
from authz.storage.usage.habits import StoredHabits
from tests.support.real import RealClock
from tests.support.usage import KID, committed, line
from tests.support.usage_counting import open_link

BASE = schema.DEFAULT.usage
OTHER = "Q" * 16
NOW = RealClock().wall_ms()
THIS_HOUR = NOW // 3_600_000


@contextlib.asynccontextmanager
async def linked(valkey, callers_kept=86_400):
    """A link to a store that is set up, and a client of it."""
    valkey.admin.hset(schema.DEFAULT.meta, "schema", "1")
    kept = dict.fromkeys(Level, 86_400 * 40)
    async with (
        open_link(valkey.endpoint, kept, callers_kept=callers_kept) as link,
        valkey.endpoint.client() as client,
    ):
        yield link, client


async def count(link, *lines):
    """Count some lines."""
    commit = committed(*lines, clocks=Clocks.near(NOW, 3_600_000, 60_000))
    assert await link.commit(commit, [b"".join(lines)], NOW) == Counted()


async def test_an_hour_of_a_key(valkey):
    """The hour has the requests of all routes, and the callers."""
    async with linked(valkey) as (link, client):
        await count(
            link,
            line(started=NOW, milliseconds="0", address="9.9.9.9", agent="curl/8"),
            line(started=NOW, milliseconds="0", address="8.8.8.8", agent="wget/1", route="a"),
            line(started=NOW, milliseconds="0", address="8.8.8.8", reason="revoked", flags="UAEX"),
            line(started=NOW, milliseconds="0", address="8.8.8.8", code="503", route="b"),
        )
        store = StoredHabits(client)
        for _ in range(2):  # few routes, and many
            one, none = await store.read([KID, OTHER], THIS_HOUR)
            assert one.habits is None
            assert one.hour[:3] == (4, 1, 1)
            assert one.hour.networks == Callers(2, has_new=True, gap=None)
            assert one.hour.agents.number >= 2
            assert none.hour.requests == 0
            names = {f"route{number}": str(number) for number in range(3, 80)}
            valkey.admin.hset(f"{BASE}routes", mapping=names)
        (later,) = await store.read([KID], THIS_HOUR + 1)
        assert later.hour.requests == 0
        assert await StoredEraser(client).erase(KID, NOW // 86_400_000) > 0
        assert not valkey.admin.exists(f"{BASE}{KID}:seen")


async def test_counts_that_no_meter_writes(valkey):
    """An hour with negative numbers, or more denials than requests, cannot be read."""
    async with linked(valkey) as (_, client):
        window, place = divmod(THIS_HOUR, Level.HOUR.window)
        for row in (b"\x91\xff", b"\x97\xff\0\0\0\0\0\x03", b"\x96\x02\0\0\0\0\xff"):
            name, field = f"{BASE}{KID}:{Level.HOUR}:{window}", str(place * 10_000)
            valkey.admin.hset(name, field, row)
            assert await StoredHabits(client).read([KID], THIS_HOUR) == [None]


async def test_callers_that_are_not_kept(valkey):
    """With judgements off, the meter keeps no callers by hour."""
    async with linked(valkey, callers_kept=0) as (link, _):
        await count(link, line(started=NOW, milliseconds="0"))
        assert not valkey.admin.exists(f"{BASE}{KID}:seen")


@pytest.mark.parametrize("seed", range(4))
async def test_callers_in_the_store(valkey, seed):
    """The script keeps the same callers as the model, also when there are too many."""
    draw, model = Random(seed), Sightings()
    most = draw.choice([5, 30, 200])
    async with linked(valkey) as (link, client):
        for at in range(60):
            hour = THIS_HOUR - 60 + at - draw.choice([0, 0, 1, 2, 9])
            found = {f"9.9.{draw.randrange(most)}.0/24" for _ in range(draw.randrange(1, 12))}
            usage = KeyUsage(networks={hour: set(found)}, agents={hour: set()})
            assert await link.commit(Commit(keys={KID: usage}), [b"%d" % at], NOW) == Counted()
            model.see(hour, sorted(found))
        _, *parts = rows.array("", await client.hget(f"{BASE}{KID}:seen", "n"))
    seen = {parts[at]: Seen(*parts[at + 1 : at + 4]) for at in range(0, len(parts), 4)}
    assert seen == model.seen


async def test_habits_and_anomalies(valkey):
    """Both are read back; what cannot be read is left out."""
    async with linked(valkey) as (link, client):
        store = StoredHabits(client)
        one = Anomaly(KID, THIS_HOUR, (Reason(Feature.RATE, 10, 1, 2),))
        assert await store.anomalies(range(THIS_HOUR, THIS_HOUR + 1)) == []
        await store.save({KID: pack(fresh(7))}, [one])
        (found,) = await store.read([KID], THIS_HOUR)
        assert found.habits == pack(fresh(7))
        assert valkey.admin.ttl(f"{BASE}{KID}:habits") > 86_400
        bad = {"x": "y", f"{KID}:x": "[]", f"{KID}:{THIS_HOUR - 1}": "x", "../../:1": "[]"}
        valkey.admin.hset(f"{BASE}odd:{THIS_HOUR // 24}", mapping=bad)
        assert await store.anomalies(range(THIS_HOUR - 30, THIS_HOUR + 1)) == [one]
        assert await store.anomalies(range(THIS_HOUR - 30, THIS_HOUR)) == []
        await count(link, line(started=NOW, milliseconds="0", kid=OTHER))
        for text in ("x", "\x90", "\x91\x01", "\x93\x01\x01\x01", "\x95\x01\xa1a\xa1a\x01\x01"):
            data = text.encode("latin-1")
            valkey.admin.hset(f"{BASE}{OTHER}:seen", "n", data)
            (found,) = await store.read([OTHER], THIS_HOUR)
            assert found is None or found.hour.networks == Callers()


async def test_a_round(valkey):
    """The latest round is read back; a damaged one counts as none."""
    async with linked(valkey) as (_, client):
        store = StoredHabits(client)
        assert await store.latest() is None
        done = Round(7, keys=3, anomalies=1, gaps={(Feature.RATE, Gap.HISTORY): 2})
        await store.finish(done)
        assert await store.latest() == done
        for text in ("x", "[]", "[1,2,3,4,[[1]]]", '{"a":1}', "[1e999,2,3,4,[]]", "[" * 50_000):
            valkey.admin.hset(f"{BASE}judged", "latest", text)
            assert await store.latest() is None


async def test_the_lease(valkey):
    """One process has it, until its time is over."""
    async with linked(valkey) as (_, client):
        store = StoredHabits(client)
        assert await store.take_lease("one", 60_000)
        assert await store.take_lease("one", 60_000)
        assert not await store.take_lease("two", 60_000)
        valkey.admin.delete(f"{BASE}judging")
        assert await store.take_lease("two", 60_000)
