"""The time of a page of `keys list` among many keys, at each position.

    python -m tests.bench.listing [KEYS]

Makes the keys in a Valkey of its own, half of them one client's, and asks for the first, middle
and last page, of all keys and of that client's, and behind a filter that nothing fits.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import redis.asyncio

from authz.core.records import KeyRecord
from authz.core.selector import Selector, State
from authz.flows.selection import Selection
from authz.process.clock import SystemClock
from authz.storage import encoding
from authz.storage.listing import StoredIndex
from tests.bench.figures import machine, offer_record, record
from tests.support.fakes import NOW, make_record
from tests.support.real import Valkey
from tests.support.storage import stored

KEYS = 100_000
LIMIT = 100
ROUNDS = 51
BATCH = 1000
CLIENTS = ("acme-web", "acme-batch")
TENANTS = ("north", "south")


def key_record(number: int) -> KeyRecord:
    """One of many keys; ten of each millisecond."""
    return make_record(
        kid=f"{number:016}",
        version=number + 1,
        client_id=CLIENTS[number % 2],
        tenant_id=TENANTS[number // 2 % 2],
        created_at=NOW + number // 10,
    )


async def fill(client: redis.asyncio.Redis, count: int) -> None:
    """Write records and indexes as changes leave them."""
    for start in range(0, count, BATCH):
        async with client.pipeline(transaction=False) as pipeline:
            for number in range(start, min(start + BATCH, count)):
                made = key_record(number)
                fields = {"version": str(made.version), **encoding.encode(made)}
                pipeline.hset(stored.key(made.kid), mapping=fields)
                pipeline.zadd(stored.KEYS, {made.kid: made.created_at})
                pipeline.zadd(stored.client(made.client_id), {made.kid: made.created_at})
            await pipeline.execute()


async def milliseconds(
    works: Sequence[Callable[[], Awaitable[object]]], rounds: int
) -> list[float]:
    """The median time of each of `works`, taken in turns: what the machine does hits them all."""
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for work, times in zip(works, taken, strict=True):
            began = time.perf_counter()
            await work()
            times.append(time.perf_counter() - began)
    return [statistics.median(times) * 1000 for times in taken]


async def measure(client: redis.asyncio.Redis, count: int) -> list[float]:
    """Print a line for each list, and return the milliseconds of each page."""
    pages: list[float] = []
    selection = Selection(StoredIndex(client), SystemClock())
    print(f"{count} keys, pages of {LIMIT}, median of {ROUNDS}, in ms")
    print(f"{'':<12}  {'first':>7}  {'middle':>7}  {'last':>7}")
    for client_id in (None, CLIENTS[0]):
        name = stored.KEYS if client_id is None else stored.client(client_id)
        size = await client.zcard(name)
        works = []
        for rank in (0, size // 2, size - LIMIT):
            cursor = (await client.zrange(name, rank - 1, rank - 1))[0] if rank else ""
            work = partial(selection.page, Selector(client_id=client_id), LIMIT, cursor)
            assert len((await work()).entries) == LIMIT
            works.append(work)
        cells = await milliseconds(works, ROUNDS)
        pages += cells
        columns = "  ".join(f"{cell:7.2f}" for cell in cells)
        print(f"{'all keys' if client_id is None else '--client':<12}  {columns}")
    for name, share in ((TENANTS[0], "half of the keys"), ("none", "no key")):
        mine = Selector(tenant_id=name)
        rounds = ROUNDS if name in TENANTS else 3
        [page] = await milliseconds([partial(selection.page, mine, LIMIT)], rounds)
        print(f"--tenant {name}, which has {share}: {page:.1f} ms")
    revoked = Selector(states=frozenset({State.REVOKED}))
    [filtered] = await milliseconds([lambda: selection.page(revoked, LIMIT)], 3)
    print(f"--status revoked, of which there is none: {filtered:.0f} ms, then a cursor")
    print(machine())
    return pages


async def main(count: int) -> list[float]:
    """Fill a store and measure."""
    with Valkey() as valkey:
        client = valkey.endpoint.client(timeout=60)
        await fill(client, count)
        pages = await measure(client, count)
        await client.aclose()
    return pages


def run() -> None:
    """Read the arguments, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("keys", type=int, nargs="?", default=KEYS)
    offer_record(parser)
    given = parser.parse_args()
    pages = asyncio.run(main(given.keys))
    if given.record:
        record({"listing.page": pages})


if __name__ == "__main__":
    run()
