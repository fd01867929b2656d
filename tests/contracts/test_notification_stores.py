"""The ports of the delivery of events: one suite for the twin and for the store."""

import pytest

from authz.core.errors import Unavailable
from authz.core.notifications.ports import DeadLetter, Progress
from authz.storage import schema
from authz.storage.notifications import (
    MAX_LETTERS,
    StoredLetters,
    StoredNotifications,
    StoredReplays,
)
from tests.support.notifications import MemoryNotifications

LETTER = DeadLetter("authz.key.revoked", "A" * 16, 1, "the receiver answered 500")


class Stored(StoredNotifications, StoredLetters, StoredReplays):
    """All three stores over one client."""


@pytest.fixture(params=["memory", "valkey"])
async def store(request):
    """An empty store of each kind."""
    if request.param == "memory":
        yield MemoryNotifications()
        return
    async with request.getfixturevalue("valkey").endpoint.client() as client:
        yield Stored(client)


@pytest.mark.parametrize(
    "progress",
    [
        Progress(""),
        Progress("5-0"),
        Progress("5-0", "e", 7, 3),
        Progress("5-0", "e", 7, 3, refused_since=8, refused_at=9),
    ],
)
async def test_progress(store, progress):
    """The saved progress of a sink comes back; other sinks have their own."""
    assert await store.load("a") is None
    await store.save("a", Progress("1-0", "x", 1, 1, refused_since=1, refused_at=1))
    await store.save("a", progress)
    assert await store.load("a") == progress
    assert await store.load("b") is None


async def test_progress_of_an_earlier_build(valkey):
    """An earlier build writes no refusals, and leaves those of another event as they are."""
    earlier = {"cursor": "5-0", "failing": "e", "since": "7", "tries": "3"}
    async with valkey.endpoint.client() as client:
        store = StoredNotifications(client)
        valkey.admin.hset(schema.DEFAULT.sink("a"), mapping=earlier)
        assert await store.load("a") == Progress("5-0", "e", 7, 3)
        await store.save("a", Progress("1-0", "x", 1, 1, refused_since=1, refused_at=1))
        valkey.admin.hset(schema.DEFAULT.sink("a"), mapping=earlier)
        assert await store.load("a") == Progress("5-0", "e", 7, 3)


async def test_one_leads(store):
    """The first process leads, also at later calls; another one does not."""
    assert await store.take_lease("first", 60_000)
    assert not await store.take_lease("second", 60_000)
    assert await store.take_lease("first", 60_000)


async def test_dead_letters(store):
    """Letters are kept by sink and event."""
    assert await store.put("a", "1-0-x", LETTER)
    assert await store.put("a", "2-0-x", LETTER)
    assert dict(await store.all("a")) == {"1-0-x": LETTER, "2-0-x": LETTER}
    await store.remove("a", "1-0-x")
    await store.remove("a", "1-0-x")
    assert list(await store.all("a")) == ["2-0-x"]
    assert not await store.all("b")


async def test_replays(store):
    """An event that was asked for twice is there once, until it is done."""
    await store.ask("a", ["1", "2"])
    await store.ask("a", ["1"])
    await store.ask("a", [])
    assert sorted(await store.asked("a")) == ["1", "2"]
    await store.done("a", "1")
    assert await store.asked("a") == ["2"]
    assert await store.asked("b") == []


@pytest.mark.parametrize("field", ["cursor", "since", "tries"])
async def test_garbled_progress_is_no_new_beginning(valkey, field):
    """A sink whose progress cannot be read waits for a person, so that no event is left out."""
    right = {"cursor": "4711-0", "failing": "", "since": "0", "tries": "0"}
    async with valkey.endpoint.client() as client:
        valkey.admin.hset(schema.DEFAULT.sink("a"), mapping=right | {field: "x"})
        with pytest.raises(Unavailable, match="events:sink:a cannot be read"):
            await Stored(client).load("a")


async def test_garbled_entries_are_left_out(valkey):
    """Letters that cannot be read count as absent. Letters have a bound."""
    names = schema.DEFAULT
    async with valkey.endpoint.client() as client:
        store = Stored(client)
        valkey.admin.hset(names.dead("a"), mapping={"1": "[", "2": '["t", "k", "x", "p"]'})
        assert not await store.all("a")
        mapping = {str(n): "[]" for n in range(MAX_LETTERS)}
        valkey.admin.hset(names.dead("a"), mapping=mapping)
        assert not await store.put("a", "one more", LETTER)


async def test_the_lease_ends(valkey):
    """The lease has a time to live, which the leader renews."""
    async with valkey.endpoint.client() as client:
        store = Stored(client)
        await store.take_lease("first", 60_000)
        assert 0 < await client.pttl(schema.DEFAULT.leader) <= 60_000
        valkey.admin.delete(schema.DEFAULT.leader)
        assert await store.take_lease("second", 60_000)
