"""A sidecar process goes on when its store is moved from one partition to eight."""

import asyncio
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import pytest

from authz.core.partitions import Partitions
from authz.flows.lifecycle import Changed
from tests.support.checked_sidecar import CheckedSidecar, waited
from tests.support.following import PATIENT, Moving, prepared, sidecars
from tests.support.limits import limits
from tests.support.real import Valkey
from tests.support.storage.moved_store import COUNT, NEW, OLD

LOST = 3


class Load:
    """Asks for keys, one after the other, in a thread. statuses: how often each was answered."""

    def __init__(self, gate: CheckedSidecar, keys: list[Changed]) -> None:
        self._gate = gate
        self._keys = keys
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.statuses: Counter[int] = Counter()
        self.faults: list[Exception] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            for key in self._keys:
                try:
                    self.statuses[self._gate.status(key)] += 1
                except Exception as cause:  # noqa: BLE001  such as a refused connection
                    self.faults.append(cause)


@pytest.fixture
def begun(tmp_path: Path, valkey: Valkey) -> Iterator[Callable[..., Moving]]:
    """A function that starts a sidecar with more settings."""
    with sidecars(tmp_path, valkey) as start:
        yield start


@pytest.mark.parametrize("given", [{}, {"partitions": 1}])
def test_cached_keys_are_answered_all_the_time(
    begun: Callable[..., Moving], valkey: Valkey, given: Mapping[str, Any]
) -> None:
    """No request of a cached key fails in the move, and metrics and /readyz show the partitions."""
    moving = begun(redis={"url": valkey.url, **given})
    gate, keys = moving.gate, moving.keys
    assert gate.statuses(keys) == [200] * len(keys)
    with Load(gate, keys) as load:
        moving.store.announce()
        waited(lambda: bool(moving.registered(NEW[3])))
        assert not moving.registered(NEW[3])["trusted"]
        moving.store.freeze()
        waited(lambda: "moving to 8 partitions" in gate.store["reason"])
        moving.store.copy()
        moving.store.complete()
        moving.store.switch()
        moving.wait_until_it_follows()
        asked = sum(load.statuses.values())
        waited(lambda: sum(load.statuses.values()) > asked + 2 * len(keys))
    assert not load.faults
    assert set(load.statuses) == {200}
    assert gate.metric("authz_partitions_untrusted") == 0
    assert gate.metric("authz_trust_held") == 1
    assert gate.metric("authz_limits_link_up") == 1
    assert gate.is_ready()
    waited(lambda: all(moving.registered(names).get("trusted") for names in NEW))
    assert not moving.registered(OLD)
    log = gate.log.read_text()
    assert "Checks are decided with the 8 partitions of the store" in log
    assert ("set it to 8" in log) == bool(given)
    assert "reset-limits" not in log
    assert "the cache is flushed" not in log


def test_a_key_that_is_revoked_after_the_move(begun: Callable[..., Moving]) -> None:
    """A key that is revoked in a partition after the move is refused, and no other key is."""
    moving = begun()
    first, *others = moving.keys
    assert moving.gate.statuses(moving.keys) == [200] * len(moving.keys)
    moving.store.move()
    moving.revoke(first)
    moving.wait_until_it_follows()
    waited(lambda: moving.gate.status(first) == 401)
    assert moving.gate.statuses(others) == [200] * len(others)


def test_a_change_waits_for_a_sidecar_that_does_not_follow_yet(
    begun: Callable[..., Moving],
) -> None:
    """A sidecar acknowledges no change in a partition while it serves records of the old store."""
    moving = begun()
    first = moving.keys[0]
    assert moving.gate.status(first) == 200
    moving.store.announce()
    moving.store.freeze()
    moving.store.copy()
    moving.store.complete()
    home = next(names for names in NEW if moving.valkey.admin.exists(names.key(first.record.kid)))
    waited(lambda: moving.registered(home).get("trusted"))
    moving.revoke(first)
    time.sleep(1)
    assert moving.registered(home)["applied"] is None
    moving.store.switch()
    seq = int(moving.valkey.admin.get(home.seq))
    waited(lambda: moving.registered(home)["applied"] == seq)
    assert moving.gate.status(first) == 401


def test_a_move_that_is_cancelled(begun: Callable[..., Moving]) -> None:
    """The sidecar goes on as before, and leaves nothing in the partitions."""
    moving = begun()
    gate, keys = moving.gate, moving.keys
    with Load(gate, keys) as load:
        waited(lambda: sum(load.statuses.values()) > len(keys))
        moving.store.announce()
        waited(lambda: all(moving.registered(names) for names in NEW))
        moving.store.freeze()
        waited(lambda: "moving to 8 partitions" in gate.store["reason"])
        moving.store.cancel()
        waited(lambda: gate.store["trusted"])
        waited(lambda: not any(moving.registered(names) for names in NEW))
    assert set(load.statuses) == {200}
    assert gate.statuses(keys) == [200] * len(keys)
    waited(lambda: moving.registered(OLD)["trusted"])
    assert gate.metric("authz_limits_link_up") == 1
    assert not [name for names in NEW for name in moving.valkey.admin.keys(f"{names._tag}*")]


def test_limits_after_a_freeze_that_no_heartbeat_met(begun: Callable[..., Moving]) -> None:
    """Limits are counted again after a run that failed at once, while its move stays announced."""
    moving = begun()
    gate, admin, key = moving.gate, moving.valkey.admin, moving.keys[0]
    moving.store.announce()
    waited(lambda: bool(moving.registered(NEW[3])))
    limit = OLD.limit(key.record.kid)
    admin.rpush(limit, "the store is moving")
    gate.status(key)
    admin.delete(limit)
    waited(lambda: gate.metric("authz_limits_link_up") == 1)
    assert gate.status(key) == 200
    assert admin.exists(limit)


def test_a_sidecar_that_was_stopped_during_the_move(begun: Callable[..., Moving]) -> None:
    """A sidecar that stood still finds the signpost when it goes on, and follows."""
    moving = begun()
    assert moving.gate.statuses(moving.keys) == [200] * len(moving.keys)
    moving.gate.tell(signal.SIGSTOP)
    moving.store.move()
    first, *others = moving.keys
    moving.revoke(first)
    moving.gate.tell(signal.SIGCONT)
    moving.wait_until_it_follows()
    assert moving.gate.statuses(moving.keys) == [401] + [200] * len(others)


def test_partitions_that_are_not_trusted_after_the_move(begun: Callable[..., Moving]) -> None:
    """Cached keys of a partition that cannot be used are served for their grace."""
    moving = begun()
    gate, keys, admin = moving.gate, moving.keys, moving.valkey.admin
    assert gate.statuses(keys) == [200] * len(keys)
    lost, of = NEW[LOST], Partitions(COUNT)
    moving.store.announce()
    moving.store.freeze()
    moving.store.copy()
    moving.store.complete([names for names in NEW if names is not lost])
    moving.store.switch()
    waited(lambda: gate.store.get("untrusted", {}).keys() == {str(LOST)})
    # Where a key lies that is at home elsewhere, the lost partition alone could tell.
    unknown = [of.of(k.record.kid) == LOST != of.home_of(k.record) for k in keys]
    assert gate.statuses(keys) == [503 if one else 200 for one in unknown]
    assert gate.metric("authz_partitions_untrusted") == 1
    assert admin.exists(lost.seq) == 0


def test_limits_go_on(tmp_path: Path, valkey: Valkey) -> None:
    """A key gets as many requests in all as its limit allows, before and after the move."""
    gate = CheckedSidecar(tmp_path, valkey, PATIENT)
    keys = asyncio.run(prepared(gate.file, limits=limits("20/d")))
    with gate:
        gate.wait_until_ready()
        moving = Moving(gate, valkey, keys)
        key = moving.keys[0]
        assert [gate.status(key) for _ in range(12)] == [200] * 12
        moving.store.move()
        moving.wait_until_it_follows()
        assert [gate.status(key) for _ in range(10)] == [200] * 8 + [429] * 2


def test_uses_of_a_canary_key_are_taken_along(tmp_path: Path, valkey: Valkey) -> None:
    """A use that waits for the end of its minute is reported in the partitions."""
    gate = CheckedSidecar(tmp_path, valkey, PATIENT)
    keys = asyncio.run(prepared(gate.file, is_canary=True))
    with gate:
        gate.wait_until_ready()
        moving = Moving(gate, valkey, keys)
        assert gate.status(keys[0]) == 401
        waited(lambda: valkey.admin.xlen(OLD.seen) == 1)
        assert gate.status(keys[0]) == 401
        moving.store.move()
        moving.wait_until_it_follows()
        waited(lambda: valkey.admin.xlen(NEW[0].seen) == 1)
