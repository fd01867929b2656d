"""Measures Checks beside clients that fill the operations port: `python -m tests.bench.ports`.

Others hold 1,500 idle connections to the port and scrape it 300 times a second, on new connections.
The rate of Checks is well below saturation. The p99 beside them is compared with the p99 alone.
"""

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from authz.settings import model
from tests.bench import load, measured, polling
from tests.bench.check_hot import client_headers, machine
from tests.support.real import Valkey, free_port
from tests.support.rpc.messages import check_request

IDLE = 1500
SCRAPERS = 4
MOST_TIMES = 1.5
PROBES = 10  # a second


def one(port: int, path: str) -> int:
    """Return the status of a request on its own connection; 0 if it is lost."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            head = f"GET {path} HTTP/1.1\r\nHost: ops\r\nConnection: close\r\n\r\n"
            client.sendall(head.encode())
            answer = client.recv(65536)
            while client.recv(65536):
                pass
        return int(answer.split()[1])
    except (OSError, IndexError):
        return 0


def ask(port: int, path: str, rate: float, until: float) -> Counter[int]:
    """Make so many requests a second. Return how often each status came."""
    found: Counter[int] = Counter()
    due = time.monotonic()
    while due < until:
        found[one(port, path)] += 1
        due += 1 / rate
        time.sleep(max(0.0, due - time.monotonic()))
    return found


def fill(port: int, scrapes: int, seconds: float) -> None:
    """Hold idle connections, scrape and probe for so long; print the statuses."""
    with ExitStack() as stack, ThreadPoolExecutor(SCRAPERS + 1) as threads:
        for _ in range(IDLE):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        print("filled", flush=True)
        until = time.monotonic() + seconds
        rates = [("/metrics", scrapes / SCRAPERS)] * SCRAPERS + [("/healthz", PROBES)]
        found = [threads.submit(ask, port, path, rate, until) for path, rate in rates]
        scraped = sum((each.result() for each in found[:-1]), Counter())
        print("scrapes", dict(scraped), "probes", dict(found[-1].result()), flush=True)


@contextmanager
def filling(port: int, scrapes: int, seconds: float):
    """Run `fill` in another process, and wait until its idle connections are open."""
    command = ["tests.bench.ports", "--fill", str(port), "--scrapes", str(scrapes)]
    command += ["--seconds", str(seconds)]
    with subprocess.Popen(
        [sys.executable, "-m", *command], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "filled\n"
        yield process


def p99(server: measured.Server, requests: load.Requests, rate: float, seconds: float) -> float:
    """Return the p99 of Checks in microseconds."""

    paced = polling.pace(
        server.address, requests, connections=4, rate=rate, seconds=seconds, spin=False
    )
    return paced.quantile(0.99) * 1e6


def main() -> None:
    """Measure in turns, and exit with 1 if the p99 is too high."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=2000, help="Checks a second")
    parser.add_argument("--scrapes", type=int, default=300, help="a second")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each look")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fill", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fill:
        fill(options.fill, options.scrapes, options.seconds)
        return
    os.sched_setaffinity(0, measured.LOAD_CORE)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="authz-")))
        file = measured.settings(directory, stack.enter_context(Valkey()))
        key, ops = asyncio.run(measured.issue(model.load(file))), free_port()
        sidecar = stack.enter_context(measured.sidecar(file, "fast", ops))
        message = check_request(client_headers(key), path="/v1/models", peer=measured.PEER)
        raw = message.SerializeToString()
        requests = load.Requests(measured.GRPC, b"\0" + len(raw).to_bytes(4) + raw)
        alone, beside = [], []
        for _ in range(options.rounds):
            alone.append(p99(sidecar, requests, options.rate, options.seconds))
            with filling(ops, options.scrapes, options.seconds + 0.5) as process:
                beside.append(p99(sidecar, requests, options.rate, options.seconds))
                print(process.communicate()[0].strip().replace("\n", ", "))
            time.sleep(0.5)
    times = statistics.median(b / a for a, b in zip(alone, beside, strict=True))
    print(f"p99 of Checks in µs: alone {[round(each) for each in alone]}")
    print(f"beside: {[round(each) for each in beside]}; {times:.2f} times (at most {MOST_TIMES})")
    print(f"\n{machine()}")
    sys.exit(times > MOST_TIMES)


if __name__ == "__main__":
    main()
