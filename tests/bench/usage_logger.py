"""The cost of the usage logger for Envoy: `python -m tests.bench.usage_logger`.

Envoy runs from envoy.yaml with one worker and answers by itself. Its processor time for a request
is measured without access logs, with the usage logger and a receiver, and with the usage logger
while nothing listens. All in turn, several rounds; medians.
"""

import argparse
import asyncio
import json
import multiprocessing
import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import uvloop
import yaml

from authz.cli.devstack import Ports, envoy_config
from authz.core.listen_address import Address
from tests.bench import load, through_envoy
from tests.bench.figures import machine
from tests.bench.measured import Bench, Server
from tests.bench.processor_time import thread_seconds
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
def envoy(case: str, check: Address) -> Iterator[Server]:
    """Run an Envoy with the access log of a case."""
    ports = Ports.free()
    with ExitStack() as stack:
        if case == RECEIVED:
            receiver = multiprocessing.Process(target=receive, args=(ports.meter,), daemon=True)
            receiver.start()
            stack.callback(receiver.kill)
        yield stack.enter_context(through_envoy.envoy(configuration(case, ports, check), ports))


def measure(rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    """Return microseconds of Envoy's processor time for a request, and MiB at the end, by case."""
    times: dict[str, list[float]] = {case: [] for case in (WITHOUT, RECEIVED, ABSENT)}
    with ExitStack() as stack:
        bench = Bench(stack)
        check = bench.sidecars["fast"].address
        proxies = {case: stack.enter_context(envoy(case, check)) for case in times}
        made = through_envoy.requests(through_envoy.CHECKED, bench.key)
        for proxy in proxies.values():
            uvloop.run(eventually(lambda at=proxy.address: through_envoy.is_allowed(at, bench.key)))
        for _ in range(rounds):
            for case, proxy in proxies.items():
                before = thread_seconds(proxy.pid)
                many = load.saturate(
                    proxy.address, made, connections=2, at_a_time=32, seconds=seconds
                )
                answered = uvloop.run(many).answered * 1.2  # with those of the warm-up
                times[case].append((thread_seconds(proxy.pid) - before) / answered * 1e6)
        memory = {case: proxy.rss / 2**20 for case, proxy in proxies.items()}
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
