"""MetaWatch: the admin API works with a store that is frozen for a move, or was just moved."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from authz.storage.endpoint import Client
from authz.storage.keys import StoredKeys
from authz.storage.meta_watch import LEASE, MetaWatch
from authz.storage.schema import DEFAULT
from tests.support.fakes import FakeClock, make_keyring
from tests.support.real import Valkey

COUNT = 8


@pytest.fixture
async def client(valkey: Valkey) -> AsyncIterator[Client]:
    """A client of a store with one partition."""
    made = valkey.endpoint.client()
    await StoredKeys(made).initialise(make_keyring().fingerprints)
    yield made
    await made.aclose()


@pytest.fixture
def clock() -> FakeClock:
    """A clock that moves when it is told to."""
    return FakeClock()


@pytest.fixture
async def watch(client: Client, clock: FakeClock) -> MetaWatch:
    """A watch that has found the store ours."""
    found = MetaWatch(client, clock, make_keyring().fingerprints, ())
    await found.look()
    assert found.is_current, found.reason
    return found


def freeze(admin: Any) -> None:
    """Take no changes any more."""
    admin.delete(DEFAULT.seq)
    admin.rpush(DEFAULT.seq, "moving")


async def test_a_frozen_store_is_ours(watch: MetaWatch, clock: FakeClock, valkey: Valkey) -> None:
    """However long a store is frozen for a move, it can be read; the reason names the move."""
    valkey.admin.hset(DEFAULT.meta, "resharding", COUNT)
    freeze(valkey.admin)
    for _ in range(3):
        clock.advance(LEASE - 1)
        await watch.look()
        assert watch.is_current
    assert "moving to 8 partitions" in watch.reason


async def test_a_store_that_was_moved(watch: MetaWatch, clock: FakeClock, valkey: Valkey) -> None:
    """The signpost ends nothing at once: the process is about to start again. The lease ends it."""
    freeze(valkey.admin)
    valkey.admin.delete(DEFAULT.meta)
    signpost = {"schema": 1, "partitions": COUNT, "complete": 1}
    valkey.admin.hset(DEFAULT.meta, mapping=signpost)
    await watch.look()
    assert watch.is_current
    clock.advance(LEASE + 1)
    await watch.look()
    assert not watch.is_current


async def test_damage_is_no_move(watch: MetaWatch, clock: FakeClock, valkey: Valkey) -> None:
    """Without a move a number of changes of another type is damage, and ends the lease."""
    freeze(valkey.admin)
    clock.advance(LEASE + 1)
    await watch.look()
    assert not watch.is_current


async def test_another_installation(watch: MetaWatch, valkey: Valkey) -> None:
    """A store with other peppers is not ours, at once."""
    valkey.admin.delete(DEFAULT.meta)
    valkey.admin.hset(DEFAULT.meta, mapping={"schema": 1, "pepper:1": "another"})
    await watch.look()
    assert not watch.is_current
