"""The KeySource port: one suite for the source in memory and for lookups on a real server."""

import asyncio
import contextlib
from dataclasses import replace

import pytest

from authz.core.errors import Unavailable
from authz.core.new_keys import KeySpec
from authz.core.records import Status
from authz.flows.lifecycle import Lifecycle
from authz.storage import encoding
from authz.storage.endpoint import Endpoint
from authz.storage.feed import ChangeFeed
from authz.storage.keys import StoredKeys
from authz.storage.linked_keys import LinkedKeys
from tests.support.fakes import (
    KID,
    FakeClock,
    MemoryKeySource,
    RecordingProbe,
    make_keyring,
    make_record,
)
from tests.support.real import RealClock, eventually
from tests.support.storage import stored

OTHER_KID = "0" * 16
UNDER_WAY = 50  # loads at a time: more would only pile up where the machine is busy


class Recorder:
    """A ChangeSink, and a waiter for loads: all it is told, in order."""

    def __init__(self):
        self.told = []
        self.delivered = 0

    def forget(self, kid, *, revoked):
        self.told.append(("changed", kid, revoked))

    def flush(self):
        pass

    def trust(self, until):
        pass

    def loads(self):
        """The deliveries, without the calls for changes."""
        return [what for what in self.told if what[0] == "loaded"]

    def deliver(self, kid):
        def keep(loaded):
            self.delivered += 1
            self.told.append(("loaded", kid, loaded))

        return keep


class InMemory:
    """The twin, answering as soon as it is asked to settle."""

    def __init__(self):
        self.source = MemoryKeySource()

    async def put(self, record):
        self.source.records[record.kid] = record
        return record

    async def settle(self, _delivered):
        self.source.answer_all()


class OnValkey:
    """Lookups on the link of a feed."""

    def __init__(self, valkey, source):
        self._admin = valkey.admin
        self.source = source

    async def put(self, record):
        fields = encoding.encode(record) | {"version": str(record.version)}
        self._admin.hset(stored.key(record.kid), mapping=fields)
        return record

    async def settle(self, delivered):
        await eventually(delivered)


@contextlib.asynccontextmanager
async def linked(valkey, sink):
    """Lookups of an initialised store, and its administration."""
    keyring = make_keyring()
    async with valkey.endpoint.client() as client:
        store = StoredKeys(client)
        await store.initialise(keyring.fingerprints)
        probe = RecordingProbe()
        feed = ChangeFeed(
            valkey.endpoint, RealClock(), probe, lease=60, fingerprints=keyring.fingerprints
        )
        running = asyncio.create_task(feed.run(sink))
        await eventually(lambda: feed.health().trusted)
        yield LinkedKeys(feed, probe), Lifecycle(store, keyring, FakeClock())
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def recorder():
    """A ChangeSink that records its calls."""
    return Recorder()


@pytest.fixture(params=["memory", "valkey"])
async def world(request, recorder):
    """A KeySource of each kind, and how to put records behind it."""
    if request.param == "memory":
        yield InMemory()
        return
    valkey = request.getfixturevalue("valkey")
    async with linked(valkey, recorder) as (source, _):
        yield OnValkey(valkey, source)


async def test_record(world, recorder):
    """A record that is there is delivered, once, and not inside the call."""
    record = await world.put(make_record())
    world.source.load(KID, recorder.deliver(KID))
    assert recorder.told == []
    await world.settle(recorder.loads)
    assert recorder.told == [("loaded", KID, record)]


async def test_absent(world, recorder):
    """A kid that is not there is delivered as None, once, and not inside the call."""
    world.source.load(KID, recorder.deliver(KID))
    assert recorder.told == []
    await world.settle(recorder.loads)
    assert recorder.told == [("loaded", KID, None)]


async def test_many_at_once(world, recorder):
    """Each load is answered once, each with its own record, in the order of asking."""
    kids = [f"{number:016}" for number in range(100)]
    for kid in kids:
        await world.put(make_record(kid=kid))
    for kid in kids:
        world.source.load(kid, recorder.deliver(kid))
    await world.settle(lambda: len(recorder.loads()) == len(kids))
    assert recorder.told == [("loaded", kid, make_record(kid=kid)) for kid in kids]


async def test_same_key_twice(world, recorder):
    """Two loads of one key deliver twice."""
    record = await world.put(make_record())
    for name in ("first", "second"):
        world.source.load(KID, recorder.deliver(name))
    await world.settle(lambda: len(recorder.loads()) == 2)
    assert recorder.told == [("loaded", "first", record), ("loaded", "second", record)]


async def test_as_it_is_when_it_is_read(world, recorder):
    """A load gives what is there when the source reads, not what was there before."""
    record = await world.put(make_record())
    newer = await world.put(replace(record, version=2, status=Status.DISABLED))
    world.source.load(KID, recorder.deliver(KID))
    await world.settle(recorder.loads)
    assert recorder.told == [("loaded", KID, newer)]


async def test_order_of_loads_and_changes(valkey, recorder):
    """Each load stands before the changes that it does not show and after those that it does."""
    asked = 0

    async def keep_loading(source, kid):
        nonlocal asked
        while True:
            if asked - recorder.delivered < UNDER_WAY:
                source.load(kid, recorder.deliver(kid))
                asked += 1
            await asyncio.sleep(0)

    async with linked(valkey, recorder) as (source, lifecycle):
        spec = KeySpec(client_id="acme-web", env="live", life_ms=None)
        kid = (await lifecycle.issue(spec, lifecycle.author("test"))).record.kid
        await eventually(lambda: recorder.told)
        loading = asyncio.create_task(keep_loading(source, kid))
        for _ in range(20):
            await lifecycle.disable(kid, lifecycle.author("test"))
            await lifecycle.enable(kid, lifecycle.author("test"))
        loading.cancel()
        await eventually(lambda: recorder.delivered == asked)

    version = 0
    for what, _, found in recorder.told:
        if what == "changed":
            version += 1
        else:
            assert found.version == version
    assert version == 41
    assert asked > version


async def test_not_connected(recorder):
    """Without a link a load is Unavailable, once, and not inside the call."""
    nowhere = Endpoint.parse("redis://127.0.0.1:1")
    feed = ChangeFeed(nowhere, FakeClock(), RecordingProbe(), lease=1, fingerprints={})
    LinkedKeys(feed, RecordingProbe()).load(KID, recorder.deliver(KID))
    assert recorder.told == []
    await asyncio.sleep(0)
    ((_, _, fault),) = recorder.told
    assert isinstance(fault, Unavailable)


async def test_emptied(valkey, recorder):
    """A store that was emptied says nothing of its keys: never None."""
    async with linked(valkey, recorder) as (source, _):
        valkey.admin.flushall()
        source.load(KID, recorder.deliver(KID))
        source.load(OTHER_KID, recorder.deliver(OTHER_KID))
        await eventually(lambda: len(recorder.told) == 2)
    assert all(isinstance(fault, Unavailable) for _, _, fault in recorder.told)


async def test_link_that_ends(own_valkey, recorder):
    """Loads whose answer was lost with the link are Unavailable, each once."""
    async with linked(own_valkey, recorder) as (source, _):
        own_valkey.pause()
        for kid in (KID, OTHER_KID):
            source.load(kid, recorder.deliver(kid))
        own_valkey.kill()
        await eventually(lambda: len(recorder.told) == 2)
        await asyncio.sleep(0)
    assert [kid for _, kid, _ in recorder.told] == [KID, OTHER_KID]
    assert all(isinstance(fault, Unavailable) for _, _, fault in recorder.told)
