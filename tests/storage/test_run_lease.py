"""RunLease: one run at a time moves a store."""

import asyncio

import pytest

from authz.core.errors import Conflict
from authz.storage.resharding import lease as module
from authz.storage.resharding.lease import RunLease
from authz.storage.schema import DEFAULT
from tests.support.real import eventually


@pytest.fixture
async def client(valkey):
    """A client of a store with one partition."""
    made = valkey.endpoint.client()
    yield made
    await made.aclose()


async def test_a_second_run_waits_for_the_end_of_the_first(client):
    """While one run works another one is refused, and works after it."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work():
        begun.set()
        await ended.wait()
        return "done"

    first = asyncio.create_task(RunLease(client, "first").hold(work()))
    await begun.wait()
    with pytest.raises(Conflict, match="another run"):
        await RunLease(client, "second").hold(work())
    ended.set()
    assert await first == "done"
    assert await RunLease(client, "second").hold(work()) == "done"


async def test_a_run_that_was_late_goes_on(client, valkey, monkeypatch):
    """A lease that ended is taken again, unless another run has it: then the work is cancelled."""
    monkeypatch.setattr(module, "RENEWAL", 0.01)
    name, is_cancelled = DEFAULT.resharder, False

    async def work():
        nonlocal is_cancelled
        valkey.admin.delete(name)
        await eventually(lambda: valkey.admin.get(name) == "late")
        valkey.admin.set(name, "other")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            is_cancelled = True
            raise

    with pytest.raises(Conflict, match="taken for dead"):
        await RunLease(client, "late").hold(work())
    assert is_cancelled
    assert valkey.admin.get(name) == "other"


async def test_a_run_does_not_come_back_after_another_one(client, valkey, monkeypatch):
    """A lease is not taken again if another run has begun the move again, and was killed."""
    monkeypatch.setattr(module, "RENEWAL", 0.01)
    valkey.admin.hset(DEFAULT.resharding, mapping={"stage": "frozen", "run": "killed"})
    begun = asyncio.Event()

    async def work():
        begun.set()
        valkey.admin.delete(DEFAULT.resharder)
        await asyncio.sleep(5)

    with pytest.raises(Conflict, match="taken for dead"):
        await RunLease(client, "late").hold(work())
    assert begun.is_set()
    assert not valkey.admin.exists(DEFAULT.resharder)
