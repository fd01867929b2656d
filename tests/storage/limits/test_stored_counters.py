"""StoredCounters on a real store: reading without charging, and resetting."""

import re

import pytest

from authz.core.errors import Unavailable, Unreadable
from authz.core.limits.charge import SpendRequest, charge_for
from authz.core.limits.key_limits import KeyLimits, LimitGroup, Owner
from authz.core.limits.limit import OnOutage
from authz.storage.limits.spend_script import SPEND, arguments
from authz.storage.limits.stored_counters import StoredCounters
from tests.support.fakes import KID
from tests.support.limits import limits
from tests.support.storage import stored

TERMS = KeyLimits(
    (
        LimitGroup(Owner.KEY, KID, limits("10/h", "spread=50/h,burst=8", "9/month")),
        LimitGroup(Owner.PROJECT, "shop", limits("100/d")),
    ),
    OnOutage.LOCAL,
)


@pytest.fixture
async def client(valkey):
    """A redis-py client, as the commands use it."""
    async with valkey.endpoint.client() as found:
        yield found


def now(valkey):
    """Return the store's time in milliseconds."""
    seconds, microseconds = valkey.admin.time()
    return seconds * 1000 + microseconds // 1000


def spend(valkey, wanted):
    """Charge so many requests, as a sidecar does."""
    return valkey.admin.eval(
        SPEND, *arguments(charge_for(TERMS, 1, now(valkey)), SpendRequest(wanted))
    )[0]


async def test_a_look_takes_nothing(valkey, client):
    """Reading counters any number of times charges nothing and writes nothing."""
    counters = StoredCounters(client)
    asked = charge_for(TERMS, 1, now(valkey))
    assert (await counters.look(asked)).left == (10, 50, 8, 9, 100)
    assert not valkey.admin.exists(stored.limit(KID))

    assert spend(valkey, 4) == 4
    before = valkey.admin.dump(stored.limit(KID))
    for _ in range(3):
        receipt = await counters.look(asked)

        assert receipt.granted == 0
        assert (receipt.left[0], receipt.left[1], receipt.left[3:]) == (6, 46, (5, 96))
        assert abs(receipt.now_us / 1000 - now(valkey)) < 60_000
    assert valkey.admin.dump(stored.limit(KID)) == before


async def test_a_full_limit_says_when_there_is_room(valkey, client):
    """A limit that would refuse has a wait; the others have none."""
    assert spend(valkey, 9) == 8
    receipt = await StoredCounters(client).look(charge_for(TERMS, 1, now(valkey)))

    waits = dict(zip(("hour", "spread", "burst", "month", "day"), receipt.waits_us, strict=True))
    assert 0 < waits.pop("burst") <= 3_600_000_000 // 50
    assert set(waits.values()) == {0}


async def test_a_reset_forgets_what_the_key_used_and_not_its_project(valkey, client):
    """A reset clears the counters of the key and leaves the pool of its project."""
    counters = StoredCounters(client)
    spend(valkey, 4)
    await counters.reset(KID)
    await counters.reset(KID)

    assert (await counters.look(charge_for(TERMS, 1, now(valkey)))).left == (10, 50, 8, 9, 96)


@pytest.mark.parametrize("value", ["", "x", "\x01" * 18, "\x07" + "\0" * 18, "9" * 100])
async def test_garbled_counters(valkey, client, value):
    """Garbled counters raise Unreadable with their name, unlike a store that cannot be reached."""
    spend(valkey, 1)
    valkey.admin.hset(stored.limit(KID), "hour h unit", value)
    with pytest.raises(Unreadable, match=re.escape(f"GARBLED {stored.limit(KID)} hour h unit")):
        await StoredCounters(client).look(charge_for(TERMS, 1, now(valkey)))


async def test_another_kind_of_value(valkey, client):
    """A limit counter that is not a hash is garbled."""
    valkey.admin.set(stored.limit(KID), "x")
    with pytest.raises(Unreadable, match="WRONGTYPE"):
        await StoredCounters(client).look(charge_for(TERMS, 1, now(valkey)))


async def test_no_store(valkey):
    """An unreachable store raises Unavailable and no counters are reported as garbled."""
    async with valkey.login("nobody", "x").client() as client:
        counters = StoredCounters(client)
        for asked in (counters.look(charge_for(TERMS, 1, now(valkey))), counters.reset(KID)):
            with pytest.raises(Unavailable) as refused:
                await asked
            assert not isinstance(refused.value, Unreadable)
