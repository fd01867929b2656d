"""A sidecar with cached keys in a process of its own, for `tests.bench.memory`.

    python -m tests.bench.sidecar_memory URL PEPPER_FILE KEYS

It imports what a sidecar imports and nothing else of the tests, because its memory is measured.
"""

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop

from authz.core.keys import base62
from authz.flows.keycache import KeyCache
from authz.settings import model
from authz.wiring import sidecar

PAGE = os.sysconf("SC_PAGE_SIZE")
BATCH = 1000


def kid_of(number: int) -> str:
    """A kid for each number."""
    digits = f"{number:016d}"
    return digits[:-1] + base62.DIGITS[int(digits[-1]) + 20]


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


def settings_of(url: str, pepper: str, count: int) -> model.Settings:
    """Return settings of a sidecar that may cache `count` keys of the store at `url`."""
    return model.load(
        None,
        {
            "check": {"listen": "127.0.0.1:0", "deadline": "10s"},
            "ops": {"listen": "127.0.0.1:0"},
            "redis": {"url": url},
            "keys": {"peppers": [{"version": "1", "file": pepper}]},
            "cache": {"ttl": "1h", "max_entries": count, "trust_lease": "10s"},
        },
        {},
    )


async def measure(settings: model.Settings, count: int) -> dict[str, Any]:
    """Start a sidecar, let it look up all keys, and look at what it takes."""
    async with sidecar.sidecar(settings) as running:
        while not running.partitions[0].feed.health().trusted:
            await asyncio.sleep(0.01)
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
        }


if __name__ == "__main__":
    given, number = settings_of(sys.argv[1], sys.argv[2], int(sys.argv[3])), int(sys.argv[3])
    print(json.dumps(uvloop.run(measure(given, number))))
