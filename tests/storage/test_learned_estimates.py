"""Learned estimates on a real store: meters publish them, and a sidecar reads them."""

import asyncio
import logging
import random

from authz.core.budgets.learned import Estimates, Guess, Learning, Statistic, parse_learned, step_of
from authz.core.usage.commit import Commit
from authz.storage.learned_estimates import LearnedEstimates
from authz.storage.schema import DEFAULT
from tests.core.budgets.test_learned import exact
from tests.spending.settling import TimedMeter
from tests.support.real import eventually
from tests.support.storage.sidecar import Sidecar

NOW = 1_763_779_999_000_000


def learning_of(numbers):
    """The real use of so many requests; each costs twice its units in micro-dollars."""
    found = Learning()
    for number in numbers:
        found.add(number, 2 * number)
    return found


def published(client):
    """The summaries that sidecars read."""
    return {place: parse_learned(text) for place, text in client.hgetall(DEFAULT.estimates).items()}


def meter_of(valkey):
    """A meter at a fixed time."""
    meter = TimedMeter(valkey.admin)
    valkey.admin.mset({"test:seconds": NOW // 10**6, "test:microseconds": 0})
    return meter


def test_meters_publish_mean_and_percentile(valkey):
    """Many commits in any order add up to the numbers of all requests."""
    meter, chance = meter_of(valkey), random.Random(1)
    numbers = [int(chance.lognormvariate(6.4, 0.9)) for _ in range(2000)]
    for at in range(0, 2000, 100):
        learned = {("chat", "mini"): learning_of(numbers[at : at + 100])}
        for _ in range(2):  # a batch that comes twice is learned once
            meter.commit(Commit(learned=learned), b"%d" % at, NOW)
    summary = published(valkey.admin)["chat mini"]
    mean, p95 = exact(numbers)
    assert (summary.units.requests, summary.units.mean) == (2000, mean)
    assert step_of(summary.units.p95) == step_of(p95)
    assert summary.usd.mean in range(2 * mean - 1, 2 * mean + 1)
    assert valkey.admin.ttl(DEFAULT.estimates) > 0


def test_old_requests_lose_their_weight(valkey):
    """After a change of behaviour the newest 40,000 requests decide."""
    meter = meter_of(valkey)
    for at, size in enumerate([100] * 45 + [900] * 90):
        found = Learning()
        for _ in range(1000):
            found.add(size, None)
        meter.commit(Commit(learned={("chat", ""): found}), b"%d" % at, NOW)
    summary = published(valkey.admin)["chat "]
    assert summary.units.requests <= 40_000
    assert 800 <= summary.units.mean <= 900
    assert summary.usd.requests == 0


def test_garbage_in_the_store_stops_nothing(valkey):
    """A distribution that cannot be read is reported, and others are learned."""
    meter = meter_of(valkey)
    valkey.admin.hset("authz:{0}:use:learned", "chat mini", "nonsense")
    found = {("chat", "mini"): learning_of([5]), ("chat", "big"): learning_of([5])}
    assert meter.commit(Commit(learned=found), b"one", NOW)[2:] == [0, 1]
    assert list(published(valkey.admin)) == ["chat big"]


def test_places_are_bounded(valkey):
    """Beyond 2,000 routes and models nothing new is learned; the known ones go on."""
    meter = meter_of(valkey)
    states = {f"chat {number}": b"\x92\x92\x00\x80\x92\x00\x80" for number in range(2000)}
    valkey.admin.hset("authz:{0}:use:learned", mapping=states)
    found = {("chat", "new"): learning_of([5]), ("chat", "7"): learning_of([5])}
    meter.commit(Commit(learned=found), b"one", NOW)
    assert list(published(valkey.admin)) == ["chat 7"]


async def test_a_sidecar_reads_them(valkey, caplog):
    """The sidecar takes readable ones, keeps them while the store refuses, and logs that once."""
    valkey.admin.hset(DEFAULT.meta, "schema", "1")
    async with Sidecar(valkey.endpoint) as sidecar:
        estimates, turns = Estimates(is_wanted=True), asyncio.Semaphore(0)

        async def sleep(_seconds):
            await turns.acquire()

        reading = LearnedEstimates(estimates, [sidecar.feed], sleep)
        await eventually(lambda: sidecar.feed.link is not None)
        place = ("chat", "mini", Statistic.MEAN)
        mapping = {"chat mini": "500 128 80 500 512 90", "chat bad": "5", "\x00": "\x00"}
        valkey.admin.hset(DEFAULT.estimates, mapping=mapping)
        run = asyncio.create_task(reading.run())
        await eventually(lambda: estimates.of(*place) == Guess(128, 512))
        valkey.admin.delete(DEFAULT.estimates)
        valkey.admin.set(DEFAULT.estimates, "no hash")
        with caplog.at_level(logging.WARNING, "authz.store"):
            turns.release()
            await eventually(lambda: "learned estimates stay" in caplog.text)
        assert estimates.of(*place) == Guess(128, 512)
        valkey.admin.delete(DEFAULT.estimates)
        turns.release()
        await eventually(lambda: estimates.of(*place) == Guess(None, None))
        run.cancel()
