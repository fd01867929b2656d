"""A sidecar process that starts after its store was moved from one partition to eight."""

import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from authz.settings import model
from tests.support.checked_sidecar import CheckedSidecar, waited
from tests.support.following import PATIENT, Moving, sidecars
from tests.support.real import Valkey
from tests.support.storage.divided import issued_in_each
from tests.support.storage.moved_store import COUNT, OLD, MovedStore


@pytest.fixture
def begun(tmp_path: Path, valkey: Valkey) -> Iterator[Callable[..., Moving]]:
    """A function that starts a sidecar with more settings."""
    with sidecars(tmp_path, valkey) as start:
        yield start


@pytest.mark.parametrize("given", [{}, {"partitions": 1}, {"partitions": 8}])
def test_a_start_on_a_store_that_was_moved(
    begun: Callable[..., Moving], tmp_path: Path, valkey: Valkey, given: Mapping[str, Any]
) -> None:
    """A sidecar that starts after the move serves with eight partitions, and leaves the old one."""
    moving = begun()
    moving.gate.tell(signal.SIGTERM)
    assert moving.gate.wait() == 0
    moving.store.move()
    with CheckedSidecar(
        tmp_path, valkey, PATIENT | {"redis": {"url": valkey.url, **given}}
    ) as gate:
        gate.wait_until_all_are_trusted()
        assert gate.statuses(moving.keys) == [200] * len(moving.keys)
        assert not moving.registered(OLD)


def test_a_start_without_the_store(begun: Callable[..., Moving], own_valkey: Valkey) -> None:
    """A sidecar that could not ask for the number of partitions follows when it can."""
    moving = begun(redis={"url": own_valkey.url})
    moving.store = MovedStore(own_valkey, moving.keys)
    moving.gate.tell(signal.SIGTERM)
    assert moving.gate.wait() == 0
    moving.store.move()
    own_valkey.pause()
    moving.gate.start()
    waited(lambda: moving.gate.look()[0] == 503)
    own_valkey.resume()
    waited(lambda: moving.gate.store.get("partitions") == COUNT)
    moving.gate.wait_until_all_are_trusted()
    assert moving.gate.statuses(moving.keys) == [200] * len(moving.keys)


def test_a_start_without_the_store_with_snapshots(
    begun: Callable[..., Moving], own_valkey: Valkey, tmp_path: Path
) -> None:
    """The snapshots of the partitions tell how many there were, and their keys are served."""
    snapshot = {"snapshot": str(tmp_path / "snapshot")}
    moving = begun(redis={"url": own_valkey.url}, cache=snapshot)
    gate, keys = moving.gate, moving.keys
    MovedStore(own_valkey, moving.keys).move()
    waited(lambda: gate.store.get("partitions") == COUNT)
    gate.wait_until_all_are_trusted()
    assert gate.statuses(keys) == [200] * len(keys)
    gate.tell(signal.SIGTERM)
    assert gate.wait() == 0
    own_valkey.kill()
    gate.start()
    gate.wait_until_ready()
    assert gate.store["partitions"] == COUNT
    assert gate.statuses(keys) == [200] * len(keys)


def test_a_store_that_never_had_one_partition(tmp_path: Path, valkey: Valkey) -> None:
    """A sidecar whose settings say 1 refuses a store that was set up with eight partitions."""
    file = CheckedSidecar(
        tmp_path, valkey, {"redis": {"url": valkey.url, "partitions": COUNT}}
    ).file
    issued_in_each(model.load(file, environ={}))
    signpost = {"schema": "1", "partitions": str(COUNT), "complete": "1"}
    valkey.admin.hset(OLD.meta, mapping=signpost)
    with CheckedSidecar(tmp_path, valkey, {"redis": {"url": valkey.url, "partitions": 1}}) as gate:
        waited(lambda: "this process works with 1" in gate.store.get("reason", ""))
        assert not gate.is_ready()
        assert "partitions" not in gate.store
    with CheckedSidecar(tmp_path, valkey) as gate:
        gate.wait_until_all_are_trusted()
