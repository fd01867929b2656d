"""Stores whose records are sealed, and a store as a version before seals wrote it."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from authz.core.keys.keyring import Keyring
from authz.core.keys.pepper import Pepper
from authz.core.ports import Loaded
from authz.storage.endpoint import Endpoint
from authz.storage.seals import StoreSeals
from tests.support.fakes import make_keyring
from tests.support.real import Valkey, eventually
from tests.support.storage import stored

BEFORE_SEALS = Path(__file__).parents[2] / "vectors" / "store_before_seals.json"


def seals(ring: Keyring, *, is_required: bool = False) -> StoreSeals:
    """Return the seals of this keyring."""
    found = ring.record_seals, ring.entry_seals, ring.applied_seals
    return StoreSeals(lambda: found, is_required=is_required)


def sealed(
    endpoint: Endpoint, ring: Keyring | None = None, *, is_required: bool = False
) -> Endpoint:
    """Return the endpoint with seals: its clients and sidecars make and check them."""
    ring = ring or make_keyring()
    return replace(endpoint, seals=lambda: seals(ring, is_required=is_required))


def fields_of(valkey: Valkey, kid: str) -> dict[str, str]:
    """Return the stored fields of a record."""
    return stored.fields(valkey.admin, kid)


def numbers_sealed(watch: Any) -> list[int]:
    """Return the number of seals of each change that MONITOR shows before "PING end"."""
    found: list[int] = []
    for command in iter(lambda: watch.next_command()["command"], "PING end"):
        if command.startswith("EVALSHA "):
            found += [len(macs) // 22 for macs in re.findall(r"\b1:\d+:([\w-]{22,})", command)]
    return found


async def load(sidecar: Any, kid: str) -> Loaded:
    """Return what a sidecar loads from the store, past its cache."""
    delivered: list[Loaded] = []
    sidecar.source.load(kid, delivered.append)
    await eventually(lambda: delivered)
    return delivered[0]


def write_store_before_seals(admin: Any) -> tuple[Keyring, list[str]]:
    """Fill an empty store as version 0.2 did. Return its keyring and the kids of its keys."""
    found = json.loads(BEFORE_SEALS.read_text())
    for name, (kind, value) in found["store"].items():
        if kind == "hash":
            admin.hset(name, mapping=value)
        elif kind == "string":
            admin.set(name, value)
        elif kind == "zset":
            admin.zadd(name, dict(value))
        else:
            for position, fields in value:
                admin.xadd(name, fields, id=position)
    ring = Keyring("ak", [Pepper.expand("1", found["pepper"].encode())])
    (kids,) = [value for name, (_, value) in found["store"].items() if name.endswith(":keys")]
    return ring, [kid for kid, _ in kids]
