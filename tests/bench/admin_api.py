"""The admin API: creates a second, and the time of GetKey and of a list of 100 keys.

    python -m tests.bench.admin_api [--keys N] [--seconds S]

The process runs alone with a Valkey of its own, with N keys in it. The clients are in this process,
so its time counts, too. The processor time of the server for one call is measured apart.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import grpc.aio

from authz.core.roles import Role
from authz.rpc.pb.admin.v1 import key_pb2, keys_pb2
from authz.storage import schema
from authz.wiring import administration
from tests.bench.figures import machine
from tests.bench.listing import TENANTS, fill
from tests.bench.processor_time import processor_seconds
from tests.rpc.admin.kills import AdminServing
from tests.support.real import Valkey
from tests.support.rpc.admin import Stubs

CLIENTS: Final = 16  # at the same time
ROUNDS: Final = 300


async def median_ms(work: Callable[[], Awaitable[object]], rounds: int) -> float:
    """Return the median time of a call, one after the other."""
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        await work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1000


async def creates(stubs: Stubs, seconds: float) -> int:
    """Issue keys from CLIENTS tasks for some seconds, and return how many."""
    made, end = 0, time.perf_counter() + seconds

    async def issue() -> None:
        nonlocal made
        while time.perf_counter() < end:
            request = keys_pb2.CreateKeyRequest(key=key_pb2.Key(client_id="bench"))
            await stubs.keys.CreateKey(request)
            made += 1

    await asyncio.gather(*(issue() for _ in range(CLIENTS)))
    return made


async def measure(serving: AdminServing, key: str, seconds: float) -> None:
    """Print the figures."""
    assert serving.process is not None
    pid = serving.process.pid
    async with grpc.aio.insecure_channel(serving.address) as channel:
        stubs = Stubs(channel, key)
        request = keys_pb2.CreateKeyRequest(key=key_pb2.Key(client_id="bench"))
        name = (await stubs.keys.CreateKey(request)).key.name
        get, page = keys_pb2.GetKeyRequest(name=name), keys_pb2.ListKeysRequest(page_size=100)
        owned = keys_pb2.ListKeysRequest(page_size=100, filter=f"tenant_id = {TENANTS[0]}")
        for label, work in (
            ("GetKey", lambda: stubs.keys.GetKey(get)),
            ("ListKeys of 100", lambda: stubs.keys.ListKeys(page)),
            ("ListKeys of 100 of a tenant", lambda: stubs.keys.ListKeys(owned)),
        ):
            before = processor_seconds(pid)
            wall = await median_ms(work, ROUNDS)
            used = (processor_seconds(pid) - before) / ROUNDS * 1000
            print(f"{label}: p50 {wall:.2f} ms, {used:.2f} ms of the server's processor")
        before, began = processor_seconds(pid), time.perf_counter()
        made = await creates(stubs, seconds)
        took, used = time.perf_counter() - began, processor_seconds(pid) - before
        print(f"CreateKey: {made / took:.0f} a second, {used / made * 1000:.2f} ms of it")


@contextmanager
def serving_keys(count: int) -> Iterator[tuple[AdminServing, str]]:
    """Run an admin API over a new store with so many keys, until the block ends.

    Yield it and the key of an administrator.
    """
    with Valkey() as valkey, tempfile.TemporaryDirectory() as directory:
        serving = AdminServing(Path(directory), valkey.url, calls_per_second=100_000)

        async def prepared() -> str:
            key = await serving.issue(Role.ADMIN)
            async with administration.endpoint(serving.settings).client() as client:
                await fill(client, count)
                await client.hdel(schema.names_of(client).meta, "sealed")  # these have no seals
            return key

        key = asyncio.run(prepared())
        serving.start()
        try:
            yield serving, key
        finally:
            serving.close()


def main() -> None:
    """Fill a store, start the process and measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    with serving_keys(given.keys) as (serving, key):
        print(f"{machine()}, {given.keys} keys")
        asyncio.run(measure(serving, key, given.seconds))


if __name__ == "__main__":
    main()
