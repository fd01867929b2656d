"""The store is down for a minute under load: what does the sidecar do, and how does it come back?

    python -m tests.bench.outage [--seconds 60] [--rate 200] [--json]

A real sidecar process is asked over gRPC at a steady rate, for keys that it knows and keys that it
does not. Its memory, its open files and its processor time are read from /proc: in the outage
without load, in the outage with it, and after. Then the store comes back with its data under the
same load, and what counts is how soon a key that it did not know is allowed, and how often each of
those is loaded.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc.aio
import uvloop
import yaml
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse

from authz.core.new_keys import KeySpec
from authz.rpc.services import CHECK_SERVICE
from authz.settings import model
from authz.wiring import administration
from tests.bench.figures import offer_record, record, tell
from tests.support.real import Valkey, eventually, free_port
from tests.support.rpc.messages import check_request

KEYS = 50
IDLE_SECONDS = 10.0
TICKS = os.sysconf("SC_CLK_TCK")


class Process:
    """The memory, files and processor time of a process, from the system."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._proc = Path(f"/proc/{pid}")

    def look(self) -> dict[str, float]:
        """Memory, open files, processor time."""
        stat = (self._proc / "stat").read_text().rpartition(")")[2].split()
        pages = int((self._proc / "statm").read_text().split()[1])
        return {
            "mib": round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1),
            "files": len(list((self._proc / "fd").iterdir())),
            "cpu_seconds": (int(stat[11]) + int(stat[12])) / TICKS,
        }


class Load:
    """Asks a sidecar, each request its own key in turn."""

    def __init__(self, check: grpc.aio.UnaryUnaryMultiCallable, keys: list[str]) -> None:
        self._check = check
        self._requests = [check_request([("x-api-key", key)]).SerializeToString() for key in keys]

    async def ask(self, number: int) -> int:
        """The gRPC code in the answer: 0 allowed, 14 unavailable."""
        answer = await self._check(self._requests[number % len(self._requests)], timeout=5)
        return CheckResponse.FromString(answer).status.code

    async def run(self, rate: float, seconds: float) -> Counter[int]:
        """So many a second, whatever the answers are."""
        found: Counter[int] = Counter()
        due, pending = time.monotonic(), set()
        for number in range(int(rate * seconds)):
            due += 1 / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            task = asyncio.create_task(self.ask(number))
            pending.add(task)
            task.add_done_callback(lambda done: found.update([done.result()]))
            task.add_done_callback(pending.discard)
        await asyncio.gather(*pending)
        return found


@contextmanager
def running(settings: Path) -> Iterator[Process]:
    """A sidecar process, which shall not end by itself."""
    command = [sys.executable, "-m", "authz.cli.main", "--config", str(settings), "serve"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            yield Process(process.pid)
        finally:
            died = process.poll() is not None
            process.terminate()
            process.wait(10)
            assert not died, "the sidecar died"


async def measure(seconds: float, rate: float) -> dict:
    """Everything, in order."""
    with Valkey() as valkey, tempfile.TemporaryDirectory() as directory:
        file, target, _ = settings_file(Path(directory), valkey)
        keys = await _prepare(file)
        known, fresh = keys[:KEYS], keys[KEYS:]
        with running(file) as process:
            async with grpc.aio.insecure_channel(target) as channel:
                check = channel.unary_unary(f"/{CHECK_SERVICE}/Check")
                await asyncio.wait_for(channel.channel_ready(), 20)
                load = Load(check, known)
                await eventually(lambda: _allowed(load))
                await load.run(rate, 2)
                before = process.look()
                valkey.admin.save()
                valkey.kill()
                await asyncio.sleep(IDLE_SECONDS)
                idle = process.look()
                answers = await Load(check, keys).run(rate, seconds)
                after = process.look()
                recovery, loads = await _come_back(valkey, Load(check, fresh), rate)
    return {
        "down_seconds": seconds + IDLE_SECONDS,
        "requests_per_second": rate,
        "answers_in_the_outage": dict(answers),
        "memory_mib": [before["mib"], idle["mib"], after["mib"]],
        "open_files": [before["files"], idle["files"], after["files"]],
        "idle_cpu_percent": _percent(before, idle, IDLE_SECONDS),
        "loaded_cpu_percent": _percent(idle, after, seconds),
        "recovery_seconds": recovery,
        "loads_per_key": loads,
    }


def _percent(before: dict, after: dict, seconds: float) -> float:
    return round(100 * (after["cpu_seconds"] - before["cpu_seconds"]) / seconds, 1)


async def _allowed(load: Load) -> bool:
    return await load.ask(0) == 0


async def _come_back(valkey: Valkey, fresh: Load, rate: float) -> tuple[float, float]:
    """Seconds until an allow, and loads for each of the keys that it did not know.

    The requests go on while the store returns, and when it has, all keys are asked for at once.
    """
    meanwhile = asyncio.create_task(fresh.run(rate, 3))
    await asyncio.to_thread(valkey.restart, empty=False)
    returned = time.monotonic()
    await eventually(lambda: _allowed(fresh))
    recovery = time.monotonic() - returned
    await asyncio.gather(*(fresh.ask(number) for number in range(20 * KEYS)))
    await meanwhile
    calls = valkey.admin.info("commandstats")
    # A heartbeat reads one hash and the number of the last change; a load reads one hash.
    loads = calls["cmdstat_hgetall"]["calls"] - calls["cmdstat_get"]["calls"]
    return round(recovery, 3), round(loads / KEYS, 2)


def settings_file(directory: Path, valkey: Valkey) -> tuple[Path, str, str]:
    """A sidecar's settings, where it is asked for checks, and where for its health."""
    target, operations = (f"127.0.0.1:{free_port()}" for _ in range(2))
    pepper, file = directory / "pepper", directory / "authz.yaml"
    pepper.write_text("p" * 64)
    wanted = {
        "check": {"listen": target},
        "ops": {"listen": operations},
        "redis": {"url": valkey.url},
        "keys": {"peppers": [{"file": str(pepper)}]},
        "log": {"level": "ERROR"},
    }
    file.write_text(yaml.safe_dump(wanted))
    return file, target, operations


async def initialise(file: Path) -> None:
    """As `authz init` does."""
    settings = model.load(file)
    async with administration.store(settings) as store:
        await store.initialise(administration.keyring(settings).fingerprints)


async def _prepare(file: Path) -> list[str]:
    await initialise(file)
    settings = model.load(file)
    spec = KeySpec(client_id="bench", env="live", life_ms=None)
    async with administration.administration(settings) as lifecycle:
        made = [await lifecycle.issue(spec, lifecycle.author("bench")) for _ in range(2 * KEYS)]
    return [issued.key_text for issued in made]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--json", action="store_true")
    offer_record(parser)
    given = parser.parse_args()
    found = uvloop.run(measure(given.seconds, given.rate))
    tell(found, as_json=given.json)
    if given.record:
        before, _, after = found["memory_mib"]
        record(
            {
                "outage.memory_before": before,
                "outage.memory_after": after,
                "outage.cpu_idle": found["idle_cpu_percent"],
                "outage.cpu_asked": found["loaded_cpu_percent"],
                "outage.return": found["recovery_seconds"],
            }
        )


if __name__ == "__main__":
    main()
