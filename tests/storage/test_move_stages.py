"""Stages of a move: what one run has begun, no other run decides."""

import pytest

from authz.core.errors import Conflict
from authz.storage.resharding.freezing import Freezing
from authz.storage.resharding.stages import Stage, Stages
from authz.storage.schema import DEFAULT

COUNT = 8


@pytest.fixture
async def client(valkey):
    """A client of a store with one partition."""
    made = valkey.endpoint.client()
    yield made
    await made.aclose()


async def frozen(client, valkey, run):
    """Freeze the store in the name of a run, and return its stages."""
    valkey.admin.set(DEFAULT.resharder, run)
    stages = Stages(client, run, COUNT, {})
    await stages.go_on_to(Stage.COPYING)
    await stages.go_on_to(Stage.FROZEN)
    await Freezing(client, run, COUNT).freeze([])
    return stages


async def test_a_run_decides_a_frozen_store(client, valkey):
    """A run that has frozen the store decides the move."""
    valkey.admin.set(DEFAULT.seq, "7")
    stages = await frozen(client, valkey, "first")
    await stages.go_on_to(Stage.DECIDED)
    assert valkey.admin.hget(DEFAULT.resharding, "stage") == "decided"


async def test_a_run_that_comes_back_does_not_decide_for_another_one(client, valkey):
    """A run that stood still does not decide with the copies of a run that was killed since."""
    first = await frozen(client, valkey, "first")
    await frozen(client, valkey, "second")
    valkey.admin.set(DEFAULT.resharder, "first")  # the lease of the second has ended
    with pytest.raises(Conflict):
        await first.go_on_to(Stage.DECIDED)
    assert valkey.admin.hget(DEFAULT.resharding, "stage") == "frozen"


async def test_a_store_that_takes_changes_is_not_switched(client, valkey):
    """A failover can lose the freeze after the decision; then the old store stays in force."""
    stages = await frozen(client, valkey, "first")
    await stages.go_on_to(Stage.DECIDED)
    valkey.admin.hset(DEFAULT.meta, "pepper:1", "ours")
    valkey.admin.delete(DEFAULT.seq)
    valkey.admin.set(DEFAULT.seq, "8")
    with pytest.raises(Conflict, match="takes changes"):
        await stages.switch(await stages.content())
    assert valkey.admin.hgetall(DEFAULT.meta) == {"pepper:1": "ours"}


async def test_a_changed_meta_is_not_replaced(client, valkey):
    """A pepper that was added since the partitions were completed is not lost by the signpost."""
    stages = await frozen(client, valkey, "first")
    await stages.go_on_to(Stage.DECIDED)
    valkey.admin.hset(DEFAULT.meta, mapping={"pepper:1": "ours", "resharding": COUNT})
    before = await stages.content()
    valkey.admin.hset(DEFAULT.meta, "pepper:2", "new")
    assert not await stages.switch(before)
    assert valkey.admin.hget(DEFAULT.meta, "pepper:2") == "new"
    assert await stages.switch(await stages.content())
    assert valkey.admin.hget(DEFAULT.meta, "partitions") == str(COUNT)
    assert await stages.switch(before)  # it was made already


async def test_a_store_that_takes_changes_is_not_decided(client, valkey):
    """A replica that took over without the freeze takes changes, so nothing is decided."""
    stages = await frozen(client, valkey, "first")
    valkey.admin.delete(DEFAULT.seq)
    valkey.admin.set(DEFAULT.seq, "8")
    with pytest.raises(Conflict):
        await stages.go_on_to(Stage.DECIDED)
    assert valkey.admin.hget(DEFAULT.resharding, "stage") == "frozen"
