"""The cost of the usage logger for Envoy: `python -m tests.bench.usage_logger`.

Envoy runs from envoy.yaml with one worker and answers by itself. Its processor time for a request
is measured without access logs, with the usage logger and a receiver, and with the usage logger
while nothing listens. All in turn, several rounds; medians.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop
import yaml

from authz.cli import binaries
from authz.cli.devstack import Ports, envoy_config
from authz.core.listen_address import Address
from tests.bench import load, through_envoy
from tests.bench.figures import machine
from tests.bench.measured import Bench
from tests.support.proxy.collector import collecting
from tests.support.real import eventually

WITHOUT, RECEIVED, ABSENT = "no access log", "usage logger", "usage logger, nobody listens"


def receive(port: int) -> None:
    """Receive usage records until the process is killed."""

    async def run() -> None:
        async with collecting(port):
            await asyncio.Event().wait()

    asyncio.run(run())


def configuration(case: str, ports: Ports, check: Address) -> str:
    """envoy.yaml with an answer of Envoy's own, and the usage logger unless `case` is WITHOUT."""
    given = yaml.safe_load(envoy_config(ports, check))
    log = through_envoy.manager(given)["access_log"]
    wanted = yaml.safe_load(through_envoy.configuration(ports, check))
    if case != WITHOUT:
        name = "envoy.access_loggers.open_telemetry"
        through_envoy.manager(wanted)["access_log"] = [one for one in log if one["name"] == name]
    return yaml.safe_dump(wanted)


@contextmanager
def envoy(case: str, check: Address) -> Iterator[tuple[Address, int]]:
    """Run an Envoy. Yield its address and its process id."""
    ports = Ports.free()
    with TemporaryDirectory(prefix="authz-") as directory, ExitStack() as stack:
        if case == RECEIVED:
            receiver = multiprocessing.Process(target=receive, args=(ports.meter,), daemon=True)
            receiver.start()
            stack.callback(receiver.kill)
        file = Path(directory) / "envoy.yaml"
        file.write_text(configuration(case, ports, check))
        command = [binaries.envoy(), "-c", file, "--disable-hot-restart", "--concurrency", "1"]
        with subprocess.Popen([*command, "--log-level", "error"]) as process:
            try:
                yield Address("127.0.0.1", ports.envoy), process.pid
            finally:
                process.kill()


def used(pid: int) -> float:
    """Return the processor time of all threads of a process, in seconds."""
    tasks = Path(f"/proc/{pid}/task")
    return sum(int((one / "schedstat").read_text().split()[0]) for one in tasks.iterdir()) / 1e9


def resident(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure(rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    """Return microseconds of Envoy's processor time for a request, and MiB at the end, by case."""
    times: dict[str, list[float]] = {case: [] for case in (WITHOUT, RECEIVED, ABSENT)}
    with ExitStack() as stack:
        bench = Bench(stack)
        check = bench.sidecars["fast"].address
        proxies = {case: stack.enter_context(envoy(case, check)) for case in times}
        made = through_envoy.requests(through_envoy.CHECKED, bench.key)
        for address, _ in proxies.values():
            uvloop.run(eventually(lambda at=address: through_envoy.is_allowed(at, bench.key)))
        for _ in range(rounds):
            for case, (address, pid) in proxies.items():
                before = used(pid)
                many = load.saturate(address, made, connections=2, at_a_time=32, seconds=seconds)
                answered = uvloop.run(many).answered * 1.2  # with those of the warm-up
                times[case].append((used(pid) - before) / answered * 1e6)
        memory = {case: resident(pid) for case, (_, pid) in proxies.items()}
    return {
        case: {"us": statistics.median(each), "least": min(each), "MiB": memory[case]}
        for case, each in times.items()
    }


def main() -> None:
    """Print the times, and their ratio to no access log."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    given = parser.parse_args()
    found = measure(given.rounds, given.seconds)
    if given.json:
        print(json.dumps({"machine": machine(), "figures": found}))
        return
    least = found[WITHOUT]["least"]
    for case, each in found.items():
        ratio = each["least"] / least
        print(
            f"{case}: {each['us']:.1f} us a request, least {each['least']:.1f}"
            f" ({ratio:.2f} of {WITHOUT}), {each['MiB']:.0f} MiB"
        )
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
