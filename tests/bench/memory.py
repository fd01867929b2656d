"""The memory of a sidecar with 100,000 cached keys: `python -m tests.bench.memory`.

A whole sidecar (listeners, link, cache) in a process of its own looks up every key of a real
store. Then its resident memory is read, and all is timed for which the event loop stands still: a
full garbage collection, a flush, the copy that a snapshot is written from; and a hit on a record
that has to be unpacked.
"""

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import redis
import uvloop

from authz.core.keys.keyring import Keyring
from authz.core.keys.pepper import Pepper
from authz.core.seals import SEAL, RecordSeals
from authz.storage import encoding
from authz.wiring import administration
from tests.bench.figures import machine, offer_record, record
from tests.bench.sidecar_memory import BATCH, kid_of, settings_of
from tests.support.fakes import make_record
from tests.support.real import Valkey
from tests.support.storage import stored

PEPPER = b"1" * 32


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


async def measure(url: str, directory: Path, count: int) -> dict[str, Any]:
    """Initialise the store, and return what a sidecar in a process of its own found."""
    pepper = directory / "pepper"
    pepper.write_bytes(PEPPER)
    settings = settings_of(url, str(pepper), count)
    async with administration.store(settings) as store:
        await store.initialise(administration.keyring(settings).fingerprints)
    command = (sys.executable, "-m", "tests.bench.sidecar_memory", url, str(pepper), str(count))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    if process.returncode:
        raise SystemExit("the sidecar failed")
    found: dict[str, Any] = json.loads(out)
    return found | {"machine": machine()}


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
