"""Measures a rapid reset through Envoy: `python -m tests.bench.resets`.

A client of Envoy cancels requests as soon as it has sent them. Envoy runs from the file that users
copy, in front of a real sidecar. Another client makes good requests all the while, and none of them
may fail.
"""

import argparse
import asyncio
import math
import socket
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import urlopen

import uvloop

from authz.settings import model
from tests.bench import measured
from tests.bench.check_hot import machine
from tests.bench.through_envoy import asking
from tests.support.h2.resets import reset_flood, statuses
from tests.support.real import Valkey, eventually, free_port

CLIENTS = 4  # good clients, each with a request every PAUSE seconds
PAUSE = 0.01
EVENTS = ("reset_flood", "connection_error")


@contextmanager
def flooding(port: int, rate: int, seconds: float):
    """Run the flood in another process. Yields it; its output is the number of resets."""
    command = ["tests.bench.resets", "--flood", str(port), "--rate", str(rate)]
    command += ["--seconds", str(seconds)]
    with subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


async def flood(port: int, rate: int, seconds: float) -> int:
    """Send resets for so long. Return their number."""
    async with reset_flood(port, rate) as sending:
        await asyncio.sleep(seconds)
        return sending.sent


async def good(port: int, key: str, seconds: float) -> tuple[Counter[int], list[float]]:
    """Return how often good clients got each status, and their latencies in seconds."""
    latencies: list[float] = []
    clients = (statuses(port, key, seconds, PAUSE, latencies) for _ in range(CLIENTS))
    found = await asyncio.gather(*clients)
    return Counter(status for each in found for status in each), latencies


def events(ops: int) -> dict[str, float]:
    """Return the sidecar's counts of the events that a flood causes."""
    with closing(urlopen(f"http://127.0.0.1:{ops}/metrics", timeout=10)) as answer:
        lines = answer.read().decode().splitlines()
    found = {}
    for event in EVENTS:
        values = [float(line.split()[-1]) for line in lines if f'event="{event}"' in line]
        found[event] = sum(values)
    return found


def is_open(port: int) -> bool:
    """Return whether a server listens on a port."""
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def percentile(latencies: list[float], share: float) -> float:
    """Return a percentile in milliseconds."""
    return sorted(latencies)[math.ceil(share * len(latencies)) - 1] * 1e3


def main() -> None:
    """Measure, and exit with 1 if a good request failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=int, default=7000, help="resets a second")
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--flood", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.flood:
        print(uvloop.run(flood(options.flood, options.rate, options.seconds)))
        return
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="authz-")))
        file = measured.settings(directory, stack.enter_context(Valkey()))
        key, ops = asyncio.run(measured.issue(model.load(file))), free_port()
        sidecar = stack.enter_context(measured.sidecar(file, "fast", ops))
        port = stack.enter_context(asking(sidecar.address)).address.port
        asyncio.run(eventually(lambda: is_open(port)))
        alone, quiet = uvloop.run(good(port, key, options.seconds / 4))
        with flooding(port, options.rate, options.seconds) as process:
            beside, loaded = uvloop.run(good(port, key, options.seconds))
            resets = int(process.communicate()[0])
        counted = events(ops)
    for name, found, latencies in (("alone", alone, quiet), ("beside resets", beside, loaded)):
        p50, p99 = (percentile(latencies, share) for share in (0.5, 0.99))
        print(f"{name:14} {dict(found)}, p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    print(f"{resets / options.seconds:.0f} resets a second; events of the sidecar: {counted}")
    print(f"\n{machine()}")
    sys.exit(set(beside) != {200})


if __name__ == "__main__":
    main()
