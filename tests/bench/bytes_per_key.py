"""The memory of a store for each key, all in: `python -m tests.bench.bytes_per_key [KEYS]`.

Issues the keys through the real script in batches, with seals, marks of the audit trail, ten keys a
client, two scopes, a project, a tenant, a name and an end. Then it loads records as a sidecar does,
asks for pages of all keys and for the keys of a client, and makes a backup. `--server PATH` takes
another server, `--hashes` the form of earlier versions.
"""

import argparse
import asyncio
import itertools
import random
import secrets
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, Final

import redis.asyncio

from authz.core.changes import Author, KeyChange
from authz.core.new_keys import KeySpec, issue
from authz.core.selector import Selector
from authz.flows.selection import Selection
from authz.process.clock import SystemClock
from authz.storage import schema
from authz.storage.backup import Backup
from authz.storage.batches import StoredBatches
from authz.storage.endpoint import Endpoint
from authz.storage.keys import StoredKeys
from authz.storage.listing import StoredIndex
from tests.bench.figures import machine, offer_record, record, tell
from tests.support.fakes import NOW, make_keyring
from tests.support.real import Valkey
from tests.support.storage import stored
from tests.support.storage.sealing import sealed
from tests.support.storage.sidecar import Sidecar

KEYS: Final = 1_000_000
FEW: Final = 10_000  # keys at which misses are timed, too
BATCH: Final = 1000
KEYS_A_CLIENT: Final = 10
MISSES: Final = 2000
PAGES: Final = 15
LIMIT: Final = 100  # keys in a page
RING: Final = make_keyring()


def changes(numbers: range) -> Iterator[KeyChange]:
    """Yield the issues of these keys. Each client gets ten, one after the other."""
    for number in numbers:
        spec = KeySpec(
            client_id=f"client-{number // KEYS_A_CLIENT:07}",
            env="live",
            life_ms=90 * 86_400_000,
            scopes=frozenset({"models:read", "models:generate"}),
            project_id="web",
            tenant_id="acme",
            name=f"key {number}",
        )
        author = Author(secrets.token_hex(16), "ops@example.com")
        yield issue(spec, RING.mint("live"), author, NOW + number)


async def fill(client: redis.asyncio.Redis, numbers: range) -> float:
    """Issue these keys, and return the seconds that it took."""
    batches, began = StoredBatches(client), time.perf_counter()
    made = changes(numbers)
    while batch := list(itertools.islice(made, BATCH)):
        for outcome in await batches.apply_all(batch):
            if not isinstance(outcome, int):
                raise SystemExit(f"a key was not issued: {outcome}")
    return time.perf_counter() - began


async def median_ms(work: Callable[[], Awaitable[Any]], rounds: int) -> float:
    """Return the median time of some work, in ms."""
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        await work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1000


async def miss(endpoint: Endpoint, kids: list[str]) -> float:
    """Return the median time in which a sidecar loads a record, in µs."""
    waiting = iter(kids)
    async with Sidecar(endpoint, lease=60) as sidecar:
        await sidecar.trusted()

        async def load() -> None:
            loaded: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            sidecar.source.load(next(waiting), loaded.set_result)
            if getattr(await loaded, "status", None) is None:
                raise SystemExit(f"a record was not found: {loaded.result()}")

        return await median_ms(load, len(kids)) * 1000


async def sample(client: redis.asyncio.Redis) -> list[str]:
    """Return random kids of the store."""
    found: list[str] = await client.zrandmember(stored.KEYS, -MISSES)
    random.shuffle(found)
    return found


async def measure(valkey: Valkey, count: int, *, is_compact: bool) -> dict[str, Any]:
    """Fill the store and measure. Return the figures by name."""
    endpoint = replace(sealed(valkey.endpoint, RING), marks=lambda: RING.trail_keys)
    client = endpoint.client(timeout=120)
    await StoredKeys(client).initialise(RING.fingerprints)
    if is_compact:
        valkey.admin.hset(stored.META, schema.META_COMPACT, schema.ALL_COMPACT)
    else:
        valkey.admin.hdel(stored.META, schema.META_COMPACT)
    empty = valkey.admin.info("memory")["used_memory"]
    few = min(count, FEW)
    seconds = await fill(client, range(few))
    miss_few = await miss(endpoint, await sample(client))
    seconds += await fill(client, range(few, count))
    found: dict[str, Any] = {"keys": count}
    memory = valkey.admin.info("memory")
    taken = memory["used_memory"] - empty
    log = valkey.admin.memory_usage(stored.LOG, samples=0)
    found["bytes_per_key"] = round(taken / count)
    found["without_the_log"] = round((taken - log) / count)
    found["log_bytes"] = log
    found["resident_per_key"] = round(memory["used_memory_rss"] / count)
    found["issued_a_second"] = round(count / seconds)
    found["miss_us_at_10000"] = round(miss_few)
    found["miss_us"] = round(await miss(endpoint, await sample(client)))
    found["miss_ratio"] = round(found["miss_us"] / found["miss_us_at_10000"], 2)

    selection, rank = Selection(StoredIndex(client), SystemClock()), count // 2
    [middle] = await client.zrange(stored.KEYS, rank, rank)
    owner = Selector(client_id=f"client-{rank // KEYS_A_CLIENT:07}")
    pages = {
        "list_first_ms": partial(selection.page, Selector(), LIMIT),
        "list_middle_ms": partial(selection.page, Selector(), LIMIT, middle),
        "find_client_ms": partial(selection.page, owner, LIMIT),
    }
    for name, page in pages.items():
        found[name] = round(await median_ms(page, PAGES), 2)
    began = time.perf_counter()
    await Backup(client, lambda _line: None).run(RING.fingerprints, NOW)
    found["backup_seconds"] = round(time.perf_counter() - began, 1)
    await client.aclose()
    return found


def run() -> None:
    """Read the arguments, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("keys", type=int, nargs="?", default=KEYS)
    parser.add_argument("--server", default="", help="another server, such as redis-server")
    parser.add_argument("--hashes", action="store_true", help="the form of earlier versions")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    offer_record(parser)
    given = parser.parse_args()
    with Valkey(binary=given.server) as valkey:
        found = asyncio.run(measure(valkey, given.keys, is_compact=not given.hashes))
    if given.record:
        kind = "redis" if given.server else "valkey"
        record({f"key_bytes.{kind}{'.hashes' if given.hashes else ''}": found["without_the_log"]})
        if not (given.server or given.hashes):
            record({"key_bytes.miss_ratio": found["miss_ratio"]})
    tell(found | {"machine": machine()}, as_json=given.json)


if __name__ == "__main__":
    run()
