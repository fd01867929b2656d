"""The cost of the garbage collector while a cache fills up: `python -m tests.bench.collector`.

For each setting a process of its own looks up every key once. Processor time, so that a busy
machine matters little: the longest pause is for how long the event loop stood still.
"""

import argparse
import asyncio
import gc
import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.queues import SimpleQueue

from authz.core.ports import Loaded
from authz.flows.keycache import KeyCache
from authz.process.clock import SystemClock
from authz.process.gc_tuning import THRESHOLDS
from authz.rpc.h2 import server
from authz.telemetry import Counters
from tests.bench.figures import machine, offer_record, record
from tests.bench.sidecar_memory import kid_of
from tests.support.fakes import make_record

PYTHONS_OWN = (700, 10, 10)
SETTINGS = {
    "Python's own": (False, PYTHONS_OWN),
    "frozen": (True, PYTHONS_OWN),
    "frozen, seldom": (True, THRESHOLDS),
}
BATCH = 100


class Source:
    """Implement KeySource. Makes each record when it is asked for."""

    def load(self, kid: str, deliver: Callable[[Loaded], None]) -> None:
        """Implement KeySource.load."""
        record = make_record(
            kid=kid, client_id=f"client-{kid[:12]}", scopes=frozenset({"models:list"})
        )
        asyncio.get_running_loop().call_soon(deliver, record)


class Pauses:
    """The pauses of the collector, in seconds."""

    def __init__(self) -> None:
        self.all: list[float] = []
        self.full = 0
        self._began = 0.0

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        """Record the duration of a collection, as a callback of `gc.callbacks`."""
        if phase == "start":
            self._began = time.process_time()
        else:
            self.all.append(time.process_time() - self._began)
            self.full += info["generation"] == 2


async def fill(count: int) -> None:
    """Look up so many keys."""
    clock, probe = SystemClock(), Counters()
    cache = KeyCache(
        Source(),
        clock,
        probe,
        ttl=3600,
        negative_ttl=5,
        max_entries=count,
        max_negatives=10,
        deadline=60,
    )
    cache.trust(float("inf"))
    for start in range(0, count, BATCH):
        await asyncio.gather(*(cache.find(kid_of(n)) for n in range(start, start + BATCH)))


def measure(name: str, count: int, found: SimpleQueue[dict[str, float]]) -> None:
    """Print a line and put the figures into `found`.

    It runs in a process of its own, because earlier collections would count.
    """
    assert server  # what a sidecar has loaded is there to be walked or not
    freeze, thresholds = SETTINGS[name]
    gc.collect()
    if freeze:
        gc.freeze()
    gc.set_threshold(*thresholds)
    pauses = Pauses()
    gc.callbacks.append(pauses)
    asyncio.run(fill(count))
    spent, longest = sum(pauses.all) * 1000, max(pauses.all) * 1000
    found.put({"total": spent, "longest": longest})
    print(
        f"{name:16} {thresholds!s:16} {spent:7.0f} ms in {len(pauses.all):5} collections, "
        f"{pauses.full:3} of them full; the longest {longest:6.1f} ms"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--keys", type=int, default=100_000)
    offer_record(parser)
    given = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    found: SimpleQueue[dict[str, float]] = spawn.SimpleQueue()
    taken = {}
    for name in SETTINGS:
        child = spawn.Process(target=measure, args=(name, given.keys, found))
        child.start()
        taken[name] = found.get()
        child.join()
    if given.record:
        record({f"collector.{part}": value for part, value in taken["frozen, seldom"].items()})
        defaults = taken["Python's own"]
        record({f"collector.default_{part}": value for part, value in defaults.items()})
    print(machine())


if __name__ == "__main__":
    main()
