"""The gate beside the admin API: the p99 of a saturated sidecar, with and without 500 creates/s.

    python -m tests.bench.beside_admin [--rate 500] [--seconds 3] [--rounds 7]

A sidecar and its load share one core, which they saturate. The admin API, its store and a client
that issues keys share the other core. In the rounds without creates, as many processes that only
count keep that core busy. Else the kernel moves what runs beside a benchmark there, and the gate
has its own core to itself in these rounds alone: on a busy machine that made a ratio of 7. Every
new key is a notice that the sidecar has to take. The processor time of the sidecar for a Check
depends less on other load than the p99.
"""

import argparse
import asyncio
import itertools
import multiprocessing
import os
import statistics
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Final

import grpc.aio
import uvloop

from authz.core.listen_address import Address
from authz.core.roles import Role
from authz.rpc.pb.admin.v1 import key_pb2, keys_pb2
from tests.bench import load
from tests.bench.check_hot import client_headers
from tests.bench.figures import machine
from tests.bench.measured import GRPC, LOAD_CORE, PEER, SERVER_CORE, issue, sidecar
from tests.bench.processor_time import processor_seconds
from tests.rpc.admin.kills import AdminServing
from tests.support.real import Valkey
from tests.support.rpc.admin import Stubs
from tests.support.rpc.messages import check_request

CONNECTIONS, AT_A_TIME = 2, 16  # what saturates
LIMIT: Final = 1.1  # the p99 beside creates, as a multiple of that without
CLIENTS: Final = 16  # creates at the same time
SPINNERS: Final = 3  # in place of the store, the admin API and the client


@dataclass(frozen=True, slots=True)
class Creator:
    """Issues `rate` keys a second for some seconds, by at most CLIENTS calls at a time."""

    address: str
    key: str
    rate: int
    seconds: float

    async def run(self) -> int:
        """Issue keys, and return how many were made in time."""
        made, turns = 0, itertools.count()
        async with grpc.aio.insecure_channel(self.address) as channel:
            stubs, began = Stubs(channel, self.key), time.perf_counter()

            async def work() -> None:
                nonlocal made
                while (due := next(turns) / self.rate) < self.seconds:
                    await asyncio.sleep(began + due - time.perf_counter())
                    if time.perf_counter() - began > self.seconds:
                        return
                    request = keys_pb2.CreateKeyRequest(key=key_pb2.Key(client_id="bench"))
                    await stubs.keys.CreateKey(request)
                    made += 1

            await asyncio.gather(*(work() for _ in range(CLIENTS)))
        return made

    def serve(self, told: "Queue[int]", go: Event) -> None:
        """Run once for each `go`, in a process on the core of the admin API."""
        os.sched_setaffinity(0, LOAD_CORE)
        while True:
            go.wait()
            go.clear()
            told.put(asyncio.run(self.run()))


def spin(until: float) -> None:
    """Keep the core of the admin API busy until a time of `time.monotonic`."""
    while time.monotonic() < until:
        pass


async def saturate(address: Address, requests: load.Requests, seconds: float) -> load.Tally:
    """Keep CONNECTIONS * AT_A_TIME calls under way, and return how long each took."""
    tally, sent = load.Tally(), dict[load.Connection, list[float]]()

    def on_end(connection: load.Connection, stream_id: int) -> None:
        now = time.perf_counter()
        times = sent[connection]
        tally.latencies.append(now - times[stream_id // 2])
        times.append(now)
        connection.send()

    opened = await load.connect(address, requests, CONNECTIONS, on_end)
    for connection in opened:
        sent[connection] = [time.perf_counter()] * AT_A_TIME
        connection.send(AT_A_TIME)
    await asyncio.sleep(seconds)
    tally.answered = len(tally.latencies)
    load.close(opened)
    return tally


def measure(given: argparse.Namespace, stack: ExitStack) -> dict[str, list[float]]:
    """Return of each round the p99 in ms, the cost of a Check in us, calls and creates a second."""
    os.sched_setaffinity(0, LOAD_CORE)
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="authz-")))
    valkey = stack.enter_context(Valkey())
    serving = AdminServing(directory, valkey.url, calls_per_second=100_000)
    admin_key = asyncio.run(serving.issue(Role.ADMIN))
    key = asyncio.run(issue(serving.settings))
    stack.callback(serving.close)
    assert serving.start().process is not None
    gate = stack.enter_context(sidecar(serving.file, "fast"))
    forked = multiprocessing.get_context("fork")
    told, go = forked.Queue(), forked.Event()
    creator = Creator(serving.address, admin_key, given.rate, given.seconds)
    client = forked.Process(target=creator.serve, args=(told, go), daemon=True)
    client.start()
    stack.callback(client.kill)
    raw = check_request(
        client_headers(key), method="GET", path="/v1/models", peer=PEER
    ).SerializeToString()
    requests = load.Requests(GRPC, b"\0" + len(raw).to_bytes(4) + raw)
    os.sched_setaffinity(0, SERVER_CORE)
    found = defaultdict[str, list[float]](list)
    uvloop.run(saturate(gate.address, requests, 1.0))  # warm-up
    for _ in range(given.rounds):
        for name in ("alone", "beside"):
            spinners = []
            if name == "beside":
                go.set()
            else:
                until = time.monotonic() + given.seconds
                spinners = [forked.Process(target=spin, args=(until,)) for _ in range(SPINNERS)]
                for spinner in spinners:
                    spinner.start()
                    os.sched_setaffinity(spinner.pid or 0, LOAD_CORE)
            before = processor_seconds(gate.pid)
            tally = uvloop.run(saturate(gate.address, requests, given.seconds))
            used = processor_seconds(gate.pid) - before
            for spinner in spinners:
                spinner.join()
            found[name].append(tally.quantile(0.99) * 1000)
            found[f"cost {name}"].append(used / tally.answered * 1e6)
            if name == "beside":
                found["calls"].append(tally.answered / given.seconds)
                found["creates"].append(told.get(timeout=60) / given.seconds)
    return found


def main() -> None:
    """Measure, print, and say whether the gate is within its limit."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    about = machine()  # before this process is bound to a core
    with ExitStack() as stack:
        found = measure(given, stack)
    middle = {name: statistics.median(values) for name, values in found.items()}
    ratio = statistics.median(b / a for a, b in zip(found["alone"], found["beside"], strict=True))
    print(f"p99 of the gate: alone {middle['alone']:.2f} ms, beside {middle['beside']:.2f} ms")
    print(f"median of {given.rounds} ratios: {ratio:.3f}; at most {LIMIT}")
    costs = f"alone {middle['cost alone']:.0f} us, beside {middle['cost beside']:.0f} us"
    print(f"processor time of the gate for a Check, with its notices: {costs}")
    print(f"{middle['calls']:.0f} Checks/s beside {middle['creates']:.0f} creates/s")
    print(about)
    raise SystemExit(ratio > LIMIT or middle["creates"] < given.rate * 0.98)


if __name__ == "__main__":
    main()
