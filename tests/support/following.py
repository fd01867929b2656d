"""A sidecar process whose store a test moves from one partition to eight."""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from authz.core.new_keys import KeySpec
from authz.core.records import RevocationReason
from authz.flows.lifecycle import Changed
from authz.settings import model
from authz.wiring import administration
from authz.wiring.partition_count import resolved, sized
from tests.support.checked_sidecar import CheckedSidecar, waited
from tests.support.limits import limits
from tests.support.real import Valkey
from tests.support.storage.divided import client_at
from tests.support.storage.moved_store import COUNT, MovedStore, at_home

KEYS = 24
HOMES = [0, 3, 5]
PATIENT: dict[str, Mapping[str, Any]] = {
    "check": {"deadline": "10s"},
    "outage": {"grace": "5m"},
}


class Moving:
    """A sidecar on a store with one partition. keys: some that lead to their homes."""

    def __init__(self, gate: CheckedSidecar, valkey: Valkey, keys: list[Changed]) -> None:
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


@contextmanager
def sidecars(directory: Path, valkey: Valkey) -> Iterator[Callable[..., Moving]]:
    """Yield a function that starts a sidecar with more settings. At the end all are stopped."""
    started: list[CheckedSidecar] = []

    def start(**more: Mapping[str, Any]) -> Moving:
        gate = CheckedSidecar(directory, valkey, PATIENT | more)
        keys = asyncio.run(prepared(gate.file, limits=limits("1000000/h")))
        started.append(gate)
        gate.start()
        gate.wait_until_ready()
        return Moving(gate, valkey, keys)

    try:
        yield start
    finally:
        for gate in started:
            gate.__exit__()
