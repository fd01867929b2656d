"""The memory of a sidecar with 100,000 cached keys: `python -m tests.bench.memory`.

A whole sidecar (listeners, link, cache) looks up every key of a real store. Then its resident
memory is read, and all is timed for which the event loop stands still: a full garbage collection,
a flush, the copy that a snapshot is written from; and a hit on a record that has to be unpacked.
"""

import argparse
import asyncio
import gc
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
import uvloop

from authz.core.keys import base62
from authz.core.keys.keyring import Keyring
from authz.core.keys.pepper import Pepper
from authz.core.seals import SEAL, RecordSeals
from authz.flows.keycache import KeyCache
from authz.settings import model
from authz.storage import encoding
from authz.wiring import administration, sidecar
from tests.bench.figures import machine, offer_record, record
from tests.support.fakes import make_record
from tests.support.real import Valkey, eventually
from tests.support.storage import stored

PAGE = os.sysconf("SC_PAGE_SIZE")
BATCH = 1000
PEPPER = b"1" * 32


def kid_of(number: int) -> str:
    """A kid for each number."""
    digits = f"{number:016d}"
    return digits[:-1] + base62.DIGITS[int(digits[-1]) + 20]


def fill(client: redis.Redis, count: int, seals: RecordSeals | None = None) -> None:
    """Write `count` keys of ten thousand clients, as changes would. seals: None for no seals."""
    for start in range(0, count, BATCH):
        batch = client.pipeline(transaction=False)
        for number in range(start, min(start + BATCH, count)):
            record = make_record(
                kid=kid_of(number),
                client_id=f"client-{number % 10_000}",
                project_id=f"project-{number % 100}",
                scopes=frozenset({"models:generate", "models:list"}),
                created_at=1_790_000_000_000 + number,
                expires_at=1_797_776_000_000 + number,
            )
            fields = encoding.encode(record) | {"version": str(number + 1)}
            if seals is not None:
                fields[SEAL] = seals.seal(record.kid, fields)
            batch.hset(stored.key(record.kid), mapping=fields)
        batch.execute()


def resident_mb() -> float:
    """Resident memory of this process, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 1e6


def milliseconds(step: Callable[[], object]) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    step()
    return round((time.perf_counter() - began) * 1000, 1)


def hit(cache: KeyCache, count: int) -> float:
    """Microseconds a hit, of the `count` keys that were used longest ago."""
    kids = [kid_of(number) for number in range(count)]
    began = time.perf_counter()
    found = [cache.peek(kid) for kid in kids]
    taken = (time.perf_counter() - began) / count * 1e6
    if None in found:
        raise SystemExit("a key that was looked up is not held")
    return round(taken, 1)


async def measure(url: str, directory: Path, count: int) -> dict[str, Any]:
    """Start a sidecar, let it look up all keys, and look at what it takes."""
    pepper = directory / "pepper"
    pepper.write_bytes(PEPPER)
    settings = model.load(
        None,
        {
            "check": {"listen": "127.0.0.1:0", "deadline": "10s"},
            "ops": {"listen": "127.0.0.1:0"},
            "redis": {"url": url},
            "keys": {"peppers": [{"version": "1", "file": str(pepper)}]},
            "cache": {"ttl": "1h", "max_entries": count},
        },
        {},
    )
    async with administration.store(settings) as store:
        await store.initialise(administration.keyring(settings).fingerprints)
    async with sidecar.sidecar(settings) as running:
        await eventually(lambda: running.partitions[0].feed.health().trusted)
        gc.collect()
        before, idle = resident_mb(), milliseconds(gc.collect)
        for start in range(0, count, BATCH):
            kids = [kid_of(number) for number in range(start, min(start + BATCH, count))]
            await asyncio.gather(*map(running.partitions[0].cache.find, kids))
        gc.collect()
        after = resident_mb()
        return {
            "keys": len(running.partitions[0].cache),
            "idle_mb": round(before, 1),
            "resident_mb": round(after, 1),
            "bytes_a_key": round((after - before) * 1e6 / count),
            "idle_collection_ms": idle,
            "full_collection_ms": milliseconds(gc.collect),
            "hit_us": hit(running.partitions[0].cache, min(count, BATCH)),
            "copy_ms": milliseconds(running.partitions[0].cache.contents),
            "flush_ms": milliseconds(running.partitions[0].cache.flush),
            "machine": machine(),
        }


PUBLISHED = {
    "resident": "resident_mb",
    "idle": "idle_mb",
    "collection": "full_collection_ms",
    "collection_idle": "idle_collection_ms",
    "flush": "flush_ms",
    "copy": "copy_ms",
    "packed_hit": "hit_us",
}


def main() -> None:
    """Print it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    offer_record(parser)
    given = parser.parse_args()
    with Valkey() as valkey:
        seals = Keyring("ak", [Pepper.expand("1", PEPPER)]).record_seals
        fill(valkey.admin, given.keys, seals)
        found = uvloop.run(measure(valkey.url, valkey.directory, given.keys))
    if given.record:
        record({f"memory.{name}": found[key] for name, key in PUBLISHED.items()})
    if given.json:
        print(json.dumps(found))
        return
    print(
        f"{found['keys']} cached keys: {found['resident_mb']} MB resident (idle {found['idle_mb']})"
    )
    print(f"a key: {found['bytes_a_key']} bytes")
    print(
        f"a full garbage collection: {found['full_collection_ms']} ms "
        f"(idle {found['idle_collection_ms']})"
    )
    print(f"a hit on one that is packed: {found['hit_us']} µs")
    print(f"the copy for a snapshot: {found['copy_ms']} ms; a flush: {found['flush_ms']} ms")
    print(found["machine"])


if __name__ == "__main__":
    main()
