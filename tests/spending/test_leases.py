"""Leases: never over in any window, never more than their size lost. On a real Valkey."""

import asyncio
from dataclasses import replace

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from authz.core.limits import charge
from authz.core.limits.charge import SpendRequest
from authz.core.limits.limit import parse_limits
from tests.spending.history import fullest
from tests.spending.plans import make_terms
from tests.spending.simulation import BEGIN, Sidecar, World

SECONDS = 2
SETUPS = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32),
        "limit": st.sampled_from((40, 300, 900)),
        "minute": st.sampled_from((None, 1200)),
        "size": st.integers(1, 6),
        "load": st.sampled_from((0.5, 1.2, 3)),
        "faults": st.booleans(),
    }
)


async def simulate(client, *, seed, limit, minute, size, load, faults):
    """A world after some seconds, with what was lost by each sidecar that died."""
    client.flushall()
    texts = [f"{limit}/s"] + ([f"{minute}/min"] if minute else [])
    world = World(client, seed, texts, lossy=0.002 if faults else 0)
    end = BEGIN + SECONDS * 10**6
    for _ in range(size):
        Sidecar(world).offer(load * limit / size, end)
    if faults:
        victims = world.chance.sample(world.sidecars, 1 + size // 3)
        for index, victim in enumerate(victims):
            when = BEGIN + world.chance.randrange(SECONDS * 10**6)
            pause = world.chance.choice((3000, 12_000, 300_000))
            world.at(when, lambda victim=victim, pause=pause: victim.pause(pause))
            if index:
                world.at(when, lambda victim=victim: setattr(victim, "alive", False))
    await world.run(end + 5 * 10**6)
    return world


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(setup=SETUPS)
def test_no_window_holds_more_than_the_limit(valkey, setup):
    """With up to six sidecars, lossy networks, pauses and deaths no window holds too much."""
    world = asyncio.run(simulate(valkey.admin, **setup))
    passed = [(moment, moment) for moment in world.passed]

    assert passed
    assert fullest(passed, 10**6) <= setup["limit"]
    if setup["minute"]:
        assert fullest(passed, 60 * 10**6) <= setup["minute"]


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(setup=SETUPS)
def test_what_is_lost_is_a_lease_at_most(valkey, setup):
    """The requests that were counted for a sidecar and did not pass are at most one lease."""
    world = asyncio.run(simulate(valkey.admin, **setup | {"faults": False}))

    for sidecar in world.sidecars:
        assert 0 <= sidecar.stranded <= setup["limit"] // charge.LEASED_SHARE


def test_one_bucket_less_would_be_too_few(valkey, monkeypatch):
    """The simulation sees a lease that lives too long: some window holds more than the limit."""
    monkeypatch.setattr(charge, "DRIFT", -9)  # ten buckets rather than one
    setup = {"limit": 900, "minute": None, "size": 4, "load": 1.2, "faults": False}
    over = 0
    for seed in range(5):
        world = asyncio.run(simulate(valkey.admin, seed=seed, **setup))
        over += fullest([(moment, moment) for moment in world.passed], 10**6) > 900

    assert over


CREDITS = 3000
REFILL = 1000
REFILLED = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32),
        "size": st.integers(1, 6),
        "refills": st.integers(0, 3),
        "faults": st.booleans(),
    }
)


async def use_credits(client, *, seed, size, refills, faults):
    """A world in which all credits are asked for, with refills that arrive one after the other."""
    client.flushall()
    world = World(client, seed, ["9000/s", f"{CREDITS}/once"], lossy=0.002 if faults else 0)
    end = BEGIN + SECONDS * 10**6
    for _ in range(size):
        Sidecar(world).offer(2 * (CREDITS + refills * REFILL) / size / SECONDS, end)
    for number in range(1, refills + 1):
        limits = parse_limits("limits", ["9000/s", f"{CREDITS + number * REFILL}/once"])
        record = replace(world.record, limits=limits, version=world.record.version + number)
        moment = BEGIN + number * (end - BEGIN) // 4
        for sidecar in world.sidecars:
            arrives = moment + world.chance.randrange(100_000)
            world.at(arrives, lambda to=sidecar, what=record: setattr(to, "record", what))
    await world.run(end + 5 * 10**6)
    for sidecar in world.sidecars:
        sidecar.limiter.give_back()
    await world.run(world.now + 10**6)
    total = CREDITS + refills * REFILL
    terms = make_terms(f"{total}/once", kid=world.record.kid)
    reply = world.store.spend(charge.charge_for(terms, 1, 0), SpendRequest(0), world.now)
    return world, total - reply.left[0]


@settings(
    max_examples=12,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a world is slow to shrink
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(setup=REFILLED)
def test_credits_are_neither_exceeded_nor_lost(valkey, setup):
    """No more than all credits pass. Without lost replies each counted unit has passed."""
    world, used = asyncio.run(use_credits(valkey.admin, **setup))

    assert len(world.passed) <= used
    if not setup["faults"]:
        assert used == len(world.passed)
