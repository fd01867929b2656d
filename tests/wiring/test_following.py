"""A sidecar process goes on when its store is moved from one partition to eight."""

import asyncio
import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import pytest

from authz.core.new_keys import KeySpec
from authz.core.partitions import Partitions
from authz.core.records import RevocationReason
from authz.flows.lifecycle import Changed
from authz.settings import model
from authz.wiring import administration
from authz.wiring.partition_count import resolved, sized
from tests.support.limits import limits
from tests.support.real import Valkey
from tests.support.storage.divided import client_at, issued_in_each
from tests.support.storage.moved_store import COUNT, NEW, OLD, MovedStore, at_home
from tests.wiring.test_partitions import Gate, waited

KEYS = 24
HOMES = [0, 3, 5]
LOST = 3
PATIENT: dict[str, Mapping[str, Any]] = {
    "check": {"deadline": "10s"},
    "outage": {"grace": "5m"},
}


class Load:
    """Asks for keys, one after the other, in a thread. statuses: how often each was answered."""

    def __init__(self, gate: Gate, keys: list[Changed]) -> None:
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


class Moving:
    """A sidecar on a store with one partition. keys: some that lead to their homes."""

    def __init__(self, gate: Gate, valkey: Valkey, keys: list[Changed]) -> None:
        self.gate = gate
        self.valkey = valkey
        self.store = MovedStore(valkey, keys)
        self.keys = keys
        assert len(at_home(keys)) < len(keys)  # the kids of others lead elsewhere

    def revoke(self, key: Changed) -> None:
        """Revoke a key in the partitions."""

        async def run() -> None:
            settings = await resolved(model.load(self.gate.file, environ={}))
            settings = sized(settings, COUNT)
            async with administration.administration(settings) as lifecycle:
                why = RevocationReason.KEY_COMPROMISE
                await lifecycle.revoke(key.record.kid, why, lifecycle.author("tests"))

        asyncio.run(run())

    def wait_until_it_follows(self) -> None:
        """Wait until the sidecar decides with eight partitions that are trusted."""
        waited(lambda: self.gate.store.get("partitions") == COUNT)
        self.gate.wait_until_all_are_trusted()

    def registered(self, names: Any) -> dict[str, Any]:
        """Return the entry of the sidecar in the registry of a partition; {} without one."""
        for instance in self.valkey.admin.zrange(names.sidecars, 0, -1):
            return json.loads(self.valkey.admin.get(names.sidecar(instance)) or "{}")
        return {}


async def prepared(file: Path, **wanted: Any) -> list[Changed]:
    """Set up the store with one partition, and issue keys that are at home in three of eight."""
    settings = model.load(file, environ={})
    async with administration.store(settings) as store:
        await store.initialise(administration.keyring(settings).fingerprints)
    async with administration.administration(settings) as lifecycle:
        author = lifecycle.author("tests")
        specs = [
            KeySpec(
                client_id=client_at(HOMES[n % len(HOMES)], COUNT),
                env="live",
                life_ms=None,
                **wanted,
            )
            for n in range(KEYS)
        ]
        return [await lifecycle.issue(spec, author) for spec in specs]


@pytest.fixture
def begun(tmp_path: Path, valkey: Valkey) -> Iterator[Callable[..., Moving]]:
    """Return a function that starts a sidecar with more settings."""
    started: list[Gate] = []

    def start(**more: Mapping[str, Any]) -> Moving:
        gate = Gate(tmp_path, valkey, PATIENT | more)
        keys = asyncio.run(prepared(gate.file, limits=limits("1000000/h")))
        started.append(gate)
        gate.start()
        gate.wait_until_ready()
        return Moving(gate, valkey, keys)

    yield start
    for gate in started:
        gate.__exit__()


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
    gate = Gate(tmp_path, valkey, PATIENT)
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
    gate = Gate(tmp_path, valkey, PATIENT)
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


@pytest.mark.parametrize("given", [{}, {"partitions": 1}, {"partitions": 8}])
def test_a_start_on_a_store_that_was_moved(
    begun: Callable[..., Moving], tmp_path: Path, valkey: Valkey, given: Mapping[str, Any]
) -> None:
    """A sidecar that starts after the move serves with eight partitions, and leaves the old one."""
    moving = begun()
    moving.gate.tell(signal.SIGTERM)
    assert moving.gate.wait() == 0
    moving.store.move()
    with Gate(tmp_path, valkey, PATIENT | {"redis": {"url": valkey.url, **given}}) as gate:
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
    file = Gate(tmp_path, valkey, {"redis": {"url": valkey.url, "partitions": COUNT}}).file
    issued_in_each(model.load(file, environ={}))
    signpost = {"schema": "1", "partitions": str(COUNT), "complete": "1"}
    valkey.admin.hset(OLD.meta, mapping=signpost)
    with Gate(tmp_path, valkey, {"redis": {"url": valkey.url, "partitions": 1}}) as gate:
        waited(lambda: "this process works with 1" in gate.store.get("reason", ""))
        assert not gate.is_ready()
        assert "partitions" not in gate.store
    with Gate(tmp_path, valkey) as gate:
        gate.wait_until_all_are_trusted()
