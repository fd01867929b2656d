"""The gain of several processes of one command: `python -m tests.bench.processes`.

`authz serve` with one process, and `authz serve --processes 4`, all of them busy at once. The load
needs the cores too, so calls a second would measure the load. The processor time of a call decides:
if it stayed the same, N processes on C cores would answer C times as many calls as one. All threads
count, also those of the parent. The lowest of many rounds counts, because a busy machine only adds.
Calls come in bursts, so that each process has a full turn of work, as it has at saturation. Cores
that are threads of one core, as on many virtual machines, give less.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from authz.core.listen_address import Address
from tests.bench import load
from tests.bench.figures import machine
from tests.bench.flood import Keys
from tests.bench.processor_time import thread_seconds
from tests.support.real import Valkey, eventually
from tests.support.serving import Serving, prepared

CORES = 2
LEAST = 1.8  # times as many calls on CORES as one process on one
KEYS, CONNECTIONS, AT_A_TIME = 20, 2, 250


@dataclass(frozen=True)
class Command:
    """A running command. checks: the addresses of its processes. keys: that are in its store."""

    pid: int
    checks: list[Address]
    keys: list[str]

    def seconds(self) -> float:
        """Return the processor time of the command and its processes so far."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return sum(map(thread_seconds, [self.pid, *map(int, children)]))

    def measure(self, calls: int) -> tuple[float, float]:
        """Return microseconds of processor time a call, and calls a second on the clock.

        calls: of each process, all at once.
        """
        before, began = self.seconds(), time.perf_counter()
        uvloop.run(self._ask(calls))
        total = calls * len(self.checks)
        elapsed = time.perf_counter() - began
        return (self.seconds() - before) / total * 1e6, total / elapsed

    async def _ask(self, calls: int) -> None:
        async with asyncio.TaskGroup() as tasks:
            for check in self.checks:
                asked = load.crowd(
                    check,
                    Keys(self.keys),
                    connections=CONNECTIONS,
                    at_a_time=AT_A_TIME,
                    rounds=calls // (CONNECTIONS * AT_A_TIME),
                )
                tasks.create_task(asked)


@contextmanager
def running(count: int) -> Iterator[Command]:
    """Run a command with so many processes, and a store of its own, until all are ready."""
    with tempfile.TemporaryDirectory(prefix="authz-") as name, Valkey() as valkey:
        check = Address("", 0, str(Path(name) / "check.sock"))
        more = {"check": {"listen": str(check), "transport": "fast"}, "cache": {"ttl": "1h"}}
        options = ["--processes", str(count)] if count > 1 else []
        serving = Serving(Path(name), valkey, more, options)
        keys = [issued.key_text for issued in asyncio.run(prepared(serving.file, KEYS))]
        checks = [check.numbered(number) for number in range(count)] if count > 1 else [check]
        with serving:
            asyncio.run(eventually(lambda: _all_ready(serving), 60.0))
            yield Command(serving.pid, checks, keys)


def _all_ready(serving: Serving) -> bool:
    status, document = serving.look()
    parts = document.get("components", {}).values()
    return status == 200 and all(
        part.get("ready", True) for part in parts if isinstance(part, dict)
    )


def main() -> None:
    """Measure, and exit with 1 if several processes gain too little."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--calls", type=int, default=5_000, help="of each process in a round")
    given = parser.parse_args()
    best: dict[int, float] = {}
    rates: dict[int, float] = {}
    with running(1) as one, running(given.processes) as several:
        for _ in range(given.rounds + 1):  # the first one fills the caches
            for command in (one, several):
                cost, rate = command.measure(given.calls)
                count = len(command.checks)
                best[count] = min(cost, best.get(count, cost))
                rates[count] = max(rate, rates.get(count, rate))
    gain = CORES * best[1] / best[given.processes]
    for count, cost in best.items():
        print(
            f"{count} processes: {cost:6.2f} us a call, {rates[count]:8.0f} calls/s beside the load"
        )
    print(f"{given.processes} processes on {CORES} cores / one: {gain:.2f} (at least {LEAST})")
    print(machine())
    raise SystemExit(gain < LEAST)


if __name__ == "__main__":
    main()
