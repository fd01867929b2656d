"""The memory of a store for each key, all in: `python -m tests.bench.bytes_per_key [KEYS]`.

Issues the keys through the real script in batches, with seals, marks of the audit trail, ten keys a
client, two scopes, a project, a tenant, a name and an end. `--seeded` writes the same bytes faster,
for ten million keys. Then it loads records as a sidecar does, in turns from this store and from one
with 10,000 keys. It asks for pages of all keys, for the keys of a client, and by a part of the
name. With `--backup` it makes a backup. With `--restart` it starts the store again from its dump.
`--server PATH` takes another server, `--hashes` the form of earlier versions. `--partitions 8`
divides the keys evenly; it needs `--seeded`.
"""

import argparse
import asyncio
import itertools
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Final

import redis.asyncio

from authz.core import partitions
from authz.core.name_patterns import Search
from authz.core.selector import Selector
from authz.flows.selection import Selection
from authz.process.clock import SystemClock
from authz.storage import schema
from authz.storage.backup import Backup
from authz.storage.batches import StoredBatches
from authz.storage.endpoint import Endpoint
from authz.storage.index_members import kid_of
from authz.storage.keys import StoredKeys
from authz.storage.sealed_lines import SealedWriter
from authz.wiring.store_parts import StoreParts
from tests.bench.figures import machine, offer_record, record, tell
from tests.bench.seeding import KEYS_A_CLIENT, change_of, seed
from tests.support.fakes import NOW, make_keyring
from tests.support.real import Valkey
from tests.support.storage.sealing import sealed
from tests.support.storage.sidecar import Sidecar

KEYS: Final = 1_000_000
MOST_BYTES: Final = 600
MOST_RATIO: Final = 1.2
MANY: Final = 10_000_000  # keys of the published figures of a large store
FEW: Final = 10_000  # keys at which misses are timed, too
BATCH: Final = 1000
PAGE_NAMES: Final = {"list": "list_first", "middle": "list_middle", "client": "find_client"}
MISSES: Final = 2000
PAGES: Final = 15
FEW_PAGES: Final = 3  # of a search, which looks at 100,000 keys for each
LONG: Final = 900  # seconds in which a server loads its keys
LIMIT: Final = 100  # keys in a page
RING: Final = make_keyring()


async def fill(client: redis.asyncio.Redis, numbers: range) -> float:
    """Issue these keys, and return the seconds that it took."""
    batches, began = StoredBatches(client), time.perf_counter()
    made = (change_of(RING, number) for number in numbers)
    while batch := list(itertools.islice(made, BATCH)):
        for outcome in await batches.apply_all(batch):
            if not isinstance(outcome, int):
                raise SystemExit(f"a key was not issued: {outcome}")
    return time.perf_counter() - began


async def medians_ms(works: Sequence[Callable[[], Awaitable[Any]]], rounds: int) -> list[float]:
    """Return the median time of each of `works`, in ms. They take turns."""
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for work, times in zip(works, taken, strict=True):
            began = time.perf_counter()
            await work()
            times.append(time.perf_counter() - began)
    return [statistics.median(times) * 1000 for times in taken]


async def misses(stores: Sequence[tuple[Endpoint, list[str]]]) -> list[float]:
    """Return for each store the median time in which a sidecar loads a record of it, in µs.

    The stores take turns, one load each, so that other work on the machine hits all of them.
    """
    async with AsyncExitStack() as stack:
        works = []
        for endpoint, kids in stores:
            sidecars = []
            for one in endpoint.partitions():
                sidecar = await stack.enter_async_context(Sidecar(one, lease=60))
                await sidecar.trusted()
                sidecars.append(sidecar)
            works.append(partial(load, sidecars, iter(kids)))
        return [one * 1000 for one in await medians_ms(works, MISSES)]


async def load(sidecars: Sequence[Sidecar], waiting: Iterator[str]) -> None:
    """Load the next record as a sidecar does. sidecars: the part of it for each partition."""
    loaded: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    kid = next(waiting)
    at = partitions.Partitions(len(sidecars)).of(kid)
    sidecars[at].source.load(kid, loaded.set_result)
    if getattr(await loaded, "status", None) is None:
        raise SystemExit(f"a record was not found: {loaded.result()}")


async def sample(parts: StoreParts) -> list[str]:
    """Return MISSES random kids of the store."""
    found: list[str] = []
    for client in parts.clients:
        count = -(-MISSES // len(parts.clients))
        members: Any = await client.zrandmember(schema.names_of(client).keys, -count)
        found += map(kid_of, members)
    random.shuffle(found)
    return found[:MISSES]


async def filled(valkey: Valkey, count: int, given: argparse.Namespace) -> tuple[Endpoint, float]:
    """Fill the store. Return its endpoint, and the seconds that it took."""
    endpoint = replace(
        sealed(valkey.endpoint, RING), marks=lambda: RING.trail_keys, count=given.partitions
    )
    share, seconds = count // given.partitions, 0.0
    for at, one in enumerate(endpoint.partitions()):
        numbers = range(at * share, (at + 1) * share)
        async with one.client(timeout=120) as client:
            await StoredKeys(client).initialise(RING.fingerprints)
            if given.hashes:
                valkey.admin.hdel(one.names.meta, schema.META_COMPACT)
            else:
                valkey.admin.hset(one.names.meta, schema.META_COMPACT, schema.ALL_COMPACT)
            began = time.perf_counter()
            if given.seeded:
                await asyncio.to_thread(seed, valkey.port, RING, numbers, one.names)
            else:
                await fill(client, numbers)
            seconds += time.perf_counter() - began
    return endpoint, seconds


@asynccontextmanager
async def parts_of(endpoint: Endpoint) -> AsyncIterator[StoreParts]:
    """Yield the partitions of a store."""
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(aclosing(one.client(timeout=600)))
            for one in endpoint.partitions()
        ]
        stores = tuple(map(StoredKeys, clients))
        yield StoreParts(partitions.Partitions(len(clients)), tuple(clients), stores, {})


def bytes_of(valkey: Valkey, endpoint: Endpoint, empty: int, count: int) -> dict[str, Any]:
    """Return the memory of each key. empty: what the store used without keys."""
    memory = valkey.admin.info("memory")
    taken = memory["used_memory"] - empty
    logs = [one.names.log for one in endpoint.partitions()]
    log = sum(valkey.admin.memory_usage(name, samples=0) or 0 for name in logs)
    return {
        "bytes_per_key": round(taken / count),
        "without_the_log": round((taken - log) / count),
        "log_bytes": log,
        "resident_per_key": round(memory["used_memory_rss"] / count),
    }


async def measure(valkey: Valkey, small: Valkey, given: argparse.Namespace) -> dict[str, Any]:
    """Fill both stores and measure. Return the figures by name."""
    count = given.keys
    empty = valkey.admin.info("memory")["used_memory"]
    endpoint, seconds = await filled(valkey, count, given)
    found: dict[str, Any] = {"keys": count, "partitions": given.partitions}
    found |= bytes_of(valkey, endpoint, empty, count)
    found["written_a_second"] = round(count / seconds)
    few, _ = await filled(small, min(count, FEW), given)
    async with parts_of(endpoint) as parts, parts_of(few) as others:
        stores = [(few, await sample(others)), (endpoint, await sample(parts))]
        miss_few, miss_many = await misses(stores)
        found["miss_us_at_10000"], found["miss_us"] = round(miss_few), round(miss_many)
        found["miss_ratio"] = round(miss_many / miss_few, 2)
        found |= await pages(parts, count)
        if given.backup:
            found |= await backup(parts)
    if given.restart:
        found |= restart(valkey, endpoint, count)
    return found | {"bars": bars(found)}


async def pages(parts: StoreParts, count: int) -> dict[str, Any]:
    """Return how long pages of keys take."""
    selection, rank = Selection(parts.index, SystemClock()), count // len(parts.clients) // 2
    client = parts.clients[-1]
    members: Any = await client.zrange(schema.names_of(client).keys, rank, rank)
    [middle] = map(kid_of, members)
    owner = Selector(client_id=f"client-{count // 2 // KEYS_A_CLIENT:07}")
    asked = {
        "list_first_ms": partial(selection.page, Selector(), LIMIT),
        "list_middle_ms": partial(selection.page, Selector(), LIMIT, middle),
        "find_client_ms": partial(selection.page, owner, LIMIT),
    }
    found = {}
    for name, page in asked.items():
        [median] = await medians_ms([page], PAGES)
        found[name] = round(median, 2)
    absent = Selector(search=Search("no such name"))
    [looked] = await medians_ms([partial(selection.page, absent, LIMIT)], FEW_PAGES)
    return found | {"search_100000_ms": round(looked)}


def bars(found: dict[str, Any]) -> dict[str, bool]:
    """Return which bars hold."""
    return {
        f"at most {MOST_BYTES} bytes a key": found["bytes_per_key"] <= MOST_BYTES,
        f"a miss at most {MOST_RATIO} times that of 10,000 keys": found["miss_ratio"] <= MOST_RATIO,
    }


async def backup(parts: StoreParts) -> dict[str, Any]:
    """Write backups as `authz backup` does, one for each partition. Return their time and size."""
    with tempfile.TemporaryFile() as file:
        began, count = time.perf_counter(), 0
        write = SealedWriter(file, RING.backup_keys[-1]).write
        for client in parts.clients:
            count += (await Backup(client, write).run(RING.fingerprints, NOW)).records
        seconds, size = time.perf_counter() - began, file.tell()
    return {"backup_seconds": round(seconds, 1), "backup_bytes_per_key": round(size / count)}


def restart(valkey: Valkey, endpoint: Endpoint, count: int) -> dict[str, Any]:
    """Start the store again from a dump. Return how long dump and start took."""
    began = time.perf_counter()
    redis.Redis(port=valkey.port, socket_timeout=None).save()  # longer than a command may take
    saved = time.perf_counter()
    valkey.restart(empty=False)
    started = time.perf_counter()
    size = (valkey.directory / "dump.rdb").stat().st_size
    if sum(valkey.admin.zcard(one.names.keys) for one in endpoint.partitions()) != count:
        raise SystemExit("the store lost keys")
    return {
        "dump_seconds": round(saved - began, 1),
        "dump_bytes_per_key": round(size / count),
        "restart_seconds": round(started - saved, 1),
    }


def published(found: dict[str, Any], given: argparse.Namespace) -> dict[str, float]:
    """Return the published figures of a run, by name."""
    if given.keys == MANY:
        if given.partitions > 1:
            return {}
        values = {
            "bytes": found["bytes_per_key"],
            "resident": found["resident_per_key"] * MANY / 1e9,
            "miss_ratio": found["miss_ratio"],
            **{name: found[f"{text}_ms"] for name, text in PAGE_NAMES.items()},
        }
        if given.restart:
            values["restart"] = found["restart_seconds"]
        return {f"many_keys.{name}": value for name, value in values.items()}
    kind = "redis" if given.server else "valkey"
    values = {f"key_bytes.{kind}{'.hashes' if given.hashes else ''}": found["without_the_log"]}
    if not (given.server or given.hashes):
        values["key_bytes.miss_ratio"] = found["miss_ratio"]
    if given.backup:
        values["key_bytes.backup"] = found["backup_bytes_per_key"]
    return values


def run() -> None:
    """Read the arguments, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("keys", type=int, nargs="?", default=KEYS)
    parser.add_argument("--server", default="", help="another server, such as redis-server")
    parser.add_argument("--hashes", action="store_true", help="the form of earlier versions")
    parser.add_argument("--seeded", action="store_true", help="write the keys without the script")
    parser.add_argument("--partitions", type=int, default=1, choices=partitions.COUNTS)
    parser.add_argument("--backup", action="store_true", help="time a backup, too")
    parser.add_argument("--restart", action="store_true", help="time a dump and a restart, too")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    offer_record(parser)
    given = parser.parse_args()
    if given.seeded and given.hashes:
        raise SystemExit("--seeded writes compact records")
    if given.partitions > 1 and not given.seeded:
        raise SystemExit("--partitions needs --seeded")
    with Valkey(binary=given.server, patience=LONG) as valkey, Valkey(binary=given.server) as small:
        found = asyncio.run(measure(valkey, small, given))
    if given.record:
        record(published(found, given))
    tell(found | {"machine": machine()}, as_json=given.json)


if __name__ == "__main__":
    run()
