"""How long after `revoke` returns is the last request let through, seen through a real Envoy?

    python -m tests.bench.revocation [--revocations 200] [--rate 500] [--json]

A steady load runs over many keys. Meanwhile one key after the other is revoked while two
connections ask with that key as fast as they can. What counts is when the last allow ARRIVED,
measured from the moment at which the change was confirmed to whoever made it.
"""

import argparse
import asyncio
import itertools
import json
import platform
import statistics
import time
from pathlib import Path

import uvloop

from authz.cli.devstack import Ports, running
from authz.core.new_keys import KeySpec
from authz.core.records import RevocationReason
from authz.flows.lifecycle import Changed, Lifecycle
from authz.settings import model
from authz.wiring import administration
from tests.bench.client import Client
from tests.bench.figures import offer_record, record

LIFE_MS = 3_600_000
LOAD_KEYS = 50
LOAD_CONNECTIONS = 16
WATCHERS = 2
AFTER_SECONDS = 0.05  # how long to go on asking after the first denial


async def measure(url: str, settings: model.Settings, revocations: int, rate: float) -> dict:
    host, port = url.removeprefix("http://").split(":")
    async with administration.administration(settings) as lifecycle:
        load_keys = [await _issue(lifecycle) for _ in range(LOAD_KEYS)]
        victims = [await _issue(lifecycle) for _ in range(revocations)]
        statuses: dict[int, int] = {}
        async with asyncio.TaskGroup() as tasks:
            load = [
                tasks.create_task(_load(host, int(port), load_keys, rate, statuses))
                for _ in range(LOAD_CONNECTIONS)
            ]
            began = time.perf_counter()
            lags = [await _revoke(lifecycle, host, int(port), victim) for victim in victims]
            seconds = time.perf_counter() - began
            for task in load:
                task.cancel()
    return {
        "revocations": revocations,
        "load_per_second": round(sum(statuses.values()) / seconds),
        "load_statuses": statuses,
        "last_allow_ms": spread([lag * 1000 for lag in lags]),
        "machine": f"{platform.machine()}, {platform.python_version()}",
    }


async def _issue(lifecycle: Lifecycle) -> Changed:
    spec = KeySpec(client_id="bench", env="live", life_ms=LIFE_MS)
    return await lifecycle.issue(spec, lifecycle.author("bench"))


async def _load(
    host: str, port: int, keys: list[Changed], rate: float, statuses: dict[int, int]
) -> None:
    client = await Client.connect(host, port)
    pause = LOAD_CONNECTIONS / rate
    due = time.perf_counter()
    for issued in itertools.cycle(keys):
        due += pause
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        status = await client.get("/", issued.key_text)
        statuses[status] = statuses.get(status, 0) + 1


async def _revoke(lifecycle: Lifecycle, host: str, port: int, victim: Changed) -> float:
    """Seconds from the confirmed revocation to the arrival of the last allow; 0 when none came."""
    allows: list[float] = []
    denied = asyncio.Event()
    clients = [await Client.connect(host, port) for _ in range(WATCHERS)]
    watchers = [asyncio.create_task(_watch(c, victim, allows, denied)) for c in clients]
    while len(allows) < 4 * WATCHERS:  # the key is in use and cached
        await asyncio.sleep(0.001)
    await lifecycle.revoke(
        victim.record.kid, RevocationReason.UNSPECIFIED, lifecycle.author("bench")
    )
    returned = time.perf_counter()
    await denied.wait()
    await asyncio.gather(*watchers)
    for client in clients:
        await client.close()
    return max(0.0, allows[-1] - returned)


async def _watch(
    client: Client, victim: Changed, allows: list[float], denied: asyncio.Event
) -> None:
    stop = None
    while stop is None or time.perf_counter() < stop:
        status = await client.get("/", victim.key_text)
        now = time.perf_counter()
        if status == 200:
            allows.append(now)
        elif stop is None:
            stop = now + AFTER_SECONDS
            denied.set()


def spread(values: list[float]) -> dict[str, float]:
    """Return percentiles and the largest of some values."""
    cuts = statistics.quantiles(values, n=100)
    found = {"p50": cuts[49], "p90": cuts[89], "p99": cuts[98], "max": max(values)}
    return {name: round(value, 2) for name, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--revocations", type=int, default=200)
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--json", action="store_true")
    offer_record(parser)
    given = parser.parse_args()
    with running(Ports.free()) as (stack, _):
        settings = model.load(Path(stack.config))
        found = uvloop.run(measure(stack.envoy, settings, given.revocations, given.rate))
    if given.record:
        record({f"revocation.{part}": found["last_allow_ms"][part] for part in ("p50", "p99")})
    if given.json:
        print(json.dumps(found))
        return
    print(f"{found['revocations']} revocations under {found['load_per_second']} requests/s")
    print(f"answers to the load: {found['load_statuses']}")
    print("last allow after the command returned, ms: ", end="")
    print(", ".join(f"{name} {value}" for name, value in found["last_allow_ms"].items()))
    print(f"machine: {found['machine']}, everything on it")


if __name__ == "__main__":
    main()
