"""Crowd on a real store: many sidecars neither reconnect nor acknowledge at the same moment."""

import asyncio

import hiredis
import pytest

from authz.core.errors import Unavailable
from authz.storage import heartbeats, reconnect
from authz.storage.crowd import ACKNOWLEDGE_MIN, MOST, RECENT_MS, Crowd
from authz.storage.endpoint import Endpoint
from authz.storage.limits.spend_link import SpendLink
from authz.storage.primary_link import PrimaryLink
from tests.support.real import RealClock, eventually
from tests.support.storage import stored
from tests.support.storage.sidecar import Registered


def calls(valkey, command):
    """Return how often the store was sent this command."""
    found = valkey.admin.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})
    return int(found["calls"])


@pytest.mark.parametrize(
    ("replies", "sidecars"),
    [
        ([], 0),
        ([1000], 1000),
        ([1000, hiredis.ReplyError("NOPERM")], 1000),
        ([1000, Unavailable("lost")], 1000),
        ([10**12], MOST),
        ([7, "8"], 7),
    ],
)
def test_the_number_of_sidecars(replies, sidecars):
    """The last number counts, up to MOST. An error changes nothing."""
    crowd = Crowd()
    for reply in replies:
        crowd.note(reply)
    assert crowd.sidecars == sidecars


@pytest.mark.parametrize(
    ("sidecars", "reconnect_most", "acknowledge"),
    [
        (0, 0, ACKNOWLEDGE_MIN),
        (1, 0.0005, ACKNOWLEDGE_MIN),
        (200, 0.1, ACKNOWLEDGE_MIN),
        (1000, 0.5, 0.1),
        (MOST, 5.0, 1.0),
    ],
)
def test_pauses_grow_with_the_number(sidecars, reconnect_most, acknowledge):
    """A pause before a connection is random, up to 0.5 ms a sidecar."""
    crowd = Crowd()
    crowd.note(sidecars)
    found = [crowd.reconnect_pause() for _ in range(200)]
    assert min(found) >= 0
    assert max(found) <= reconnect_most
    assert crowd.acknowledge_pause() == pytest.approx(acknowledge)
    if sidecars:
        assert max(found) > reconnect_most / 2


@pytest.fixture
def pauses(monkeypatch):
    """The pauses between attempts. Nobody really waits, and the fifth ends the test."""
    found = []

    async def sleep(seconds):
        found.append(seconds)
        if len(found) == 5:
            raise asyncio.CancelledError

    monkeypatch.setattr(reconnect.asyncio, "sleep", sleep)
    return found


async def test_each_attempt_waits_for_the_crowd(pauses):
    """The pause of the crowd is added to that of the attempt, at the first one, too."""

    async def fail():
        pass

    crowd = Crowd()
    crowd.reconnect_pause = lambda: 3.0
    with pytest.raises(asyncio.CancelledError):
        await reconnect.repeat(fail, RealClock(), enough=1, crowd=crowd)
    assert all(3.0 < pause <= 3.5 for pause in pauses)


@pytest.mark.parametrize("kind", ["limits", "other"])
async def test_a_link_for_limits_is_one_of_the_crowd(kind, pauses):
    """Links for limits are spread as well. A link without a crowd is not."""
    crowd, nowhere = Crowd(), Endpoint.parse("unix:///nowhere")
    crowd.reconnect_pause = lambda: 3.0

    async def prepare(_link):
        pass

    if kind == "limits":
        link = SpendLink(nowhere, RealClock(), instance="one", deadline=1, crowd=crowd)
    else:
        link = PrimaryLink(nowhere, RealClock(), name="x", subject="x are", prepare=prepare)
    with pytest.raises(asyncio.CancelledError):
        await link.run()
    assert all((pause > 3.0) == (kind == "limits") for pause in pauses)


async def test_sidecars_know_their_number(own_valkey, own_admin):
    """A sidecar learns from the registry how many there are."""
    async with (
        Registered(own_valkey.endpoint, "web-1") as one,
        Registered(own_valkey.endpoint, "web-2") as other,
    ):
        await eventually(lambda: one.feed.crowd.sidecars == other.feed.crowd.sidecars == 2)


async def test_sidecars_that_crashed_long_ago_do_not_count(own_valkey, own_admin):
    """The place of a sidecar that wrote nothing for an hour stays, and delays no other sidecar."""
    past = own_valkey.admin.time()[0] * 1000 - RECENT_MS - 60_000
    own_valkey.admin.zadd(stored.SIDECARS, {f"old-{number}": past for number in range(500)})
    async with Registered(own_valkey.endpoint, "web-1") as one:
        await eventually(lambda: one.feed.crowd.sidecars == 1)
    assert own_valkey.admin.zcard(stored.SIDECARS) >= 500


async def test_the_index_is_written_once_a_lease(own_valkey, own_admin):
    """Each heartbeat writes the entry, every fourth also its place in the index."""
    async with Registered(own_valkey.endpoint) as sidecar:
        await sidecar.trusted()
        await eventually(lambda: calls(own_valkey, "role") >= 17)
        indexed, sent = calls(own_valkey, "zadd"), calls(own_valkey, "role")
    assert indexed <= sent / 4 + 2  # one more after the first flush


async def test_an_emptied_store_has_the_index_again(own_valkey, own_admin):
    """After FLUSHALL the next heartbeat writes the index, so that `authz init` finds the fleet."""
    await own_admin.issue()
    async with Registered(own_valkey.endpoint, lease=3600) as sidecar:
        await sidecar.trusted()
        own_valkey.admin.flushall()
        sidecar.feed._heartbeats.send(sidecar.feed.link)
        await eventually(lambda: own_valkey.admin.zcard(stored.SIDECARS) == 1)


async def test_a_store_that_is_ours_again(own_valkey, own_admin):
    """No heartbeat grants trust while the sidecar is missing from the registry."""
    async with Registered(own_valkey.endpoint, lease=3600) as sidecar:
        await sidecar.trusted()
        feed, link = sidecar.feed, sidecar.feed.link

        async def beat(schema):
            own_valkey.admin.hset(stored.META, "schema", schema)
            feed._heartbeats.send(link)
            await link.call("PING")

        await beat("9")
        assert feed.is_foreign
        await beat("9")
        assert own_valkey.admin.zcard(stored.SIDECARS) == 0
        while not feed.health().trusted:
            await beat("1")
        assert own_valkey.admin.zcard(stored.SIDECARS) == 1
        assert own_valkey.admin.keys(stored.sidecar("*"))


async def test_heartbeats_are_spread(own_valkey, own_admin, monkeypatch):
    """The first pause between heartbeats is a random part of the usual one."""
    monkeypatch.setattr(heartbeats.random, "random", lambda: 0.0)
    async with Registered(own_valkey.endpoint, lease=3600) as sidecar:
        await sidecar.trusted()
        await eventually(lambda: calls(own_valkey, "role") == 2)
