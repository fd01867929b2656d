"""A sidecar process on a store with eight partitions."""

import asyncio
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from authz.flows.lifecycle import Changed
from authz.settings import model
from authz.storage.schema import Names
from tests.support.checked_sidecar import DIVIDED, CheckedSidecar, waited
from tests.support.cluster import Cluster
from tests.support.limits import limits
from tests.support.real import Valkey, eventually
from tests.support.storage.divided import Divided, divided, issued_in_each

COUNT = 8
EIGHT = [Names(partition=partition, partitions=COUNT) for partition in range(COUNT)]
LOST = 3


async def change(file: Path, work: Callable[[Divided], Any]) -> Any:
    """Do some work with the administration of the store."""
    async with divided(model.load(file, environ={})) as store:
        return await work(store)


@pytest.fixture
def keys(tmp_path: Path, valkey: Valkey) -> list[Changed]:
    """A key in each partition, with a limit."""
    file = CheckedSidecar(tmp_path, valkey, DIVIDED).file
    return issued_in_each(model.load(file, environ={}), limits=limits("1000/h"))


@pytest.fixture
def gate(tmp_path: Path, valkey: Valkey, keys: list[Changed]) -> Iterator[CheckedSidecar]:
    """A sidecar that trusts every partition."""
    with CheckedSidecar(tmp_path, valkey, DIVIDED) as running:
        running.wait_until_all_are_trusted()
        yield running


def test_keys_of_every_partition(gate: CheckedSidecar, valkey: Valkey, keys: list[Changed]) -> None:
    """Each key is allowed and counted in its partition, and the sidecar is registered in each."""
    assert gate.statuses(keys) == [200] * COUNT
    for names, key in zip(EIGHT, keys, strict=True):
        assert valkey.admin.hlen(names.limit(key.record.kid)) > 0
        (instance,) = valkey.admin.zrange(names.sidecars, 0, -1)
        assert json.loads(valkey.admin.get(names.sidecar(instance)))["trusted"]
    assert gate.metric("authz_partitions_untrusted") == 0
    assert gate.metric("authz_trust_held") == 1


def test_a_revoked_key_of_each_partition(gate: CheckedSidecar, keys: list[Changed]) -> None:
    """A change in a partition arrives on the link of that partition."""
    assert gate.statuses(keys) == [200] * COUNT

    async def revoke(store: Divided) -> None:
        for key in keys[::2]:
            await store.revoke(key.record.kid)

    asyncio.run(change(gate.file, revoke))
    waited(lambda: gate.statuses(keys) == [401, 200] * (COUNT // 2))


def test_a_partition_that_lost_its_data(
    gate: CheckedSidecar, valkey: Valkey, keys: list[Changed]
) -> None:
    """Its keys get 503, and those of the others are served. /readyz and a metric name it."""
    valkey.admin.delete(EIGHT[LOST].meta)
    waited(lambda: list(gate.store["untrusted"]) == [str(LOST)])
    assert "the store's data is gone" in gate.store["untrusted"][str(LOST)]
    assert "1 of 8 partitions are not trusted" in gate.store["reason"]
    assert gate.is_ready()
    assert gate.statuses(keys) == [503 if at == LOST else 200 for at in range(COUNT)]
    assert gate.metric("authz_partitions_untrusted") == 1
    assert gate.metric("authz_trust_held") == 0

    for names in EIGHT:
        valkey.admin.delete(names.meta)
    waited(lambda: len(gate.store["untrusted"]) == COUNT)
    assert gate.is_ready()  # cached records are served for outage.grace
    assert gate.statuses(keys) == [503 if at == LOST else 200 for at in range(COUNT)]


def test_no_partition_is_trusted(tmp_path: Path, valkey: Valkey) -> None:
    """A sidecar without any trust and without cached records is not ready."""
    with CheckedSidecar(tmp_path, valkey, DIVIDED) as gate:
        waited(lambda: len(gate.store.get("untrusted", {})) == COUNT)
        assert not gate.is_ready()


@pytest.mark.parametrize("count", [1, 48])
def test_another_number_of_partitions(
    tmp_path: Path, valkey: Valkey, keys: list[Changed], count: int
) -> None:
    """A sidecar with another number than the store serves no key."""
    signpost = {"schema": "1", "partitions": str(COUNT)}
    valkey.admin.hset(Names().meta, mapping=signpost)  # as `authz init` writes it
    with CheckedSidecar(tmp_path, valkey, {"redis": {"partitions": count}}) as gate:
        problem = f"redis.partitions is {count}"
        waited(lambda: problem in gate.store.get("reason", ""))
        assert gate.statuses(keys) == [503] * COUNT
        assert not gate.is_ready()


def test_snapshots_of_partitions(tmp_path: Path, own_valkey: Valkey) -> None:
    """A sidecar that restarts without the store serves the keys of every partition."""
    more = DIVIDED | {"cache": {"snapshot": str(tmp_path / "snapshot")}}
    gate = CheckedSidecar(tmp_path, own_valkey, more)
    keys = issued_in_each(model.load(gate.file, environ={}))
    with gate:
        gate.wait_until_all_are_trusted()
        assert gate.statuses(keys) == [200] * COUNT
        gate.tell(signal.SIGTERM)
        assert gate.wait() == 0
        files = sorted(file.name for file in tmp_path.glob("snapshot.*-of-8"))
        assert files == [f"snapshot.{partition}-of-8" for partition in range(COUNT)]
        own_valkey.kill()
        gate.start()
        gate.wait_until_ready()
        assert gate.statuses(keys) == [200] * COUNT


async def test_a_shard_of_a_cluster_is_lost(tmp_path: Path) -> None:
    """Keys on the other shards are served, also those that are not cached; changes arrive."""
    async with Cluster() as cluster:
        # A cluster has a url as a Valkey has.
        gate = CheckedSidecar(tmp_path, cluster, DIVIDED)  # type: ignore[arg-type]

        async with divided(model.load(gate.file, environ={})) as admin:
            keys = await admin.issue_everywhere() + await admin.issue_everywhere()
            with gate:
                await asyncio.to_thread(gate.wait_until_all_are_trusted)
                assert await asyncio.to_thread(gate.statuses, keys[:COUNT]) == [200] * COUNT
                for node in cluster.shard_of(cluster.owner):
                    node.kill()
                lost = [str(one.partition) for one in EIGHT if cluster.shares_owner(one)]
                assert 0 < len(lost) < COUNT
                await eventually(lambda: list(gate.store["untrusted"]) == lost)
                assert gate.is_ready()
                fresh = await asyncio.to_thread(gate.statuses, keys[COUNT:])
                assert fresh == [503 if str(at) in lost else 200 for at in range(COUNT)]
                assert await asyncio.to_thread(gate.statuses, keys[:COUNT]) == [200] * COUNT
                living = next(at for at in range(COUNT) if str(at) not in lost)
                await admin.revoke(keys[living].record.kid)
                await eventually(lambda: gate.status(keys[living]) == 401)
