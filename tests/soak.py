"""A million Checks, one in a hundred cancelled by the client: what does the sidecar's memory do?

    python -m tests.soak [--transport fast|grpcio] [--calls 1000000] [--json]

Envoy cancels a Check when its own timeout fires, so the cancelled ones are cancelled while the
sidecar waits for the store: they carry keys that it does not know, and the store pauses meanwhile.
The slope is that of a straight line through the resident memory after the first tenth of the calls.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import yaml

from authz.core.keys.keyring import Keyring
from authz.core.new_keys import KeySpec
from authz.rpc.services import CHECK_SERVICE
from authz.settings import model
from authz.wiring import administration
from tests.bench.figures import offer_record, record
from tests.support.real import Valkey, free_port
from tests.support.rpc.messages import check_request

CHECK = f"/{CHECK_SERVICE}/Check"
ROUND = 10_000  # calls between two looks at the memory
CANCELLED = ROUND // 100
CONCURRENCY = 64
PAUSE_MS = 40  # of the store, below check.deadline
LIMIT = 210  # bytes a cancelled call, which is what grpcio itself leaks


class Load:
    """Asks one sidecar. A fresh channel a round: a client of grpcio's keeps what it has called."""

    def __init__(self, target: str, key: str, ring: Keyring, store: Valkey) -> None:
        self._target = target
        self._known = message(key)
        self._ring = ring
        self._store = store
        self.cancelled = 0

    async def round(self) -> None:
        """So many calls, the last of them cancelled."""
        async with grpc.aio.insecure_channel(self._target) as channel:
            check = channel.unary_unary(CHECK)
            plain = (ROUND - CANCELLED) // CONCURRENCY
            await asyncio.gather(*(self._ask(check, plain) for _ in range(CONCURRENCY)))
            await self._cancel(check)

    async def _ask(self, check: Any, count: int) -> None:
        for _ in range(count):
            await check(self._known)

    async def _cancel(self, check: Any) -> None:
        self._store.admin.execute_command("CLIENT", "PAUSE", PAUSE_MS, "ALL")
        calls = [check(message(self._ring.mint("live").text)) for _ in range(CANCELLED)]
        await asyncio.sleep(PAUSE_MS / 4000)
        self.cancelled += sum(call.cancel() for call in calls)
        await asyncio.gather(*map(_ended, calls))


async def _ended(call: Any) -> None:
    while not call.done():
        await asyncio.sleep(0.001)


def message(key: str) -> bytes:
    """A CheckRequest with this key."""
    return check_request([("x-api-key", key)]).SerializeToString()


def resident(pid: int) -> int:
    """Bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def slope(points: list[tuple[int, int]]) -> float:
    """Bytes a call, of the line through `(calls, bytes)`."""
    return statistics.linear_regression(*zip(*points, strict=True)).slope


@contextmanager
def sidecar(file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A sidecar process, ready."""
    command = [sys.executable, "-m", "authz.cli.main", "--config", str(file), "serve"]
    ready = f"http://{model.load(file).ops.listen}/readyz"
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            while not _answers(ready):
                time.sleep(0.05)
            yield process
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1):
            return True
    except OSError:
        return False


async def prepare(settings: model.Settings) -> str:
    """Make the store ours; a key."""
    async with administration.store(settings) as store:
        await store.initialise(administration.keyring(settings).fingerprints)
    async with administration.administration(settings) as life:
        spec = KeySpec(client_id="soak", env="live", life_ms=None)
        return (await life.issue(spec, life.author("soak"))).key_text or ""


async def soak(file: Path, pid: int, store: Valkey, key: str, calls: int) -> dict[str, Any]:
    """Ask, look at the memory, and again."""
    settings = model.load(file)
    load = Load(str(settings.check.listen), key, administration.keyring(settings), store)
    points = [(0, resident(pid))]
    began = time.monotonic()
    while points[-1][0] < calls:
        await load.round()
        points.append((points[-1][0] + ROUND, resident(pid)))
        if sys.stderr.isatty():
            print(f"\r{points[-1][0]:>9} calls, {points[-1][1] >> 20} MiB", end="", file=sys.stderr)
    seconds = time.monotonic() - began
    settled = [point for point in points if point[0] >= calls // 10]
    per_call = slope(settled)
    return {
        "calls": points[-1][0],
        "cancelled": load.cancelled,
        "calls_per_second": round(points[-1][0] / seconds),
        "resident_mib": {
            "start": points[0][1] >> 20,
            "settled": settled[0][1] >> 20,
            "end": points[-1][1] >> 20,
        },
        "bytes_per_call": round(per_call, 2),
        "bytes_per_cancelled_call": round(per_call * points[-1][0] / load.cancelled, 1),
        "limit": LIMIT,
    }


def run(transport: str, calls: int) -> dict[str, Any]:
    """One store, one sidecar, so many calls."""
    with tempfile.TemporaryDirectory() as directory, Valkey() as store:
        pepper, file = Path(directory) / "pepper", Path(directory) / "authz.yaml"
        pepper.write_text("p" * 64)
        settings = {
            "check": {"listen": f"127.0.0.1:{free_port()}", "transport": transport},
            "ops": {"listen": f"127.0.0.1:{free_port()}"},
            "redis": {"url": store.url},
            "keys": {"peppers": [{"file": str(pepper)}]},
        }
        file.write_text(yaml.safe_dump(settings))
        key = asyncio.run(prepare(model.load(file)))
        with sidecar(file) as process:
            return asyncio.run(soak(file, process.pid, store, key, calls))


def main() -> None:
    """Measure, and say whether it is within the limit."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--transport", choices=("fast", "grpcio"), default="fast")
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    offer_record(parser)
    given = parser.parse_args()
    found = run(given.transport, given.calls)
    if given.record and given.transport == "grpcio":
        record({"soak.memory": found["resident_mib"]["end"], "soak.slope": found["bytes_per_call"]})
    if given.json:
        print(json.dumps(found))
    else:
        print("\n" + "\n".join(f"{name:26} {value}" for name, value in found.items()))
    raise SystemExit(found["bytes_per_cancelled_call"] > LIMIT)


if __name__ == "__main__":
    main()
