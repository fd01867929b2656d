"""Envoy and gate against others, in processor time: `python -m tests.bench.envoy_against PATH`.

PATH is another configuration of Envoy, or a checked-out tree with a `.venv` of its own. With a file
both Envoys ask our gate. With a tree its envoy.yaml asks its gate. Envoys with one worker, which
answer by themselves and have no access log, get the same requests in turn, in many short rounds.
The order changes each round. The median of the ratios counts on a quiet machine, the ratio of the
lowest times on a busy one, which only adds time.
"""

import argparse
import json
import os
import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop
import yaml

from authz.cli.devstack import Ports
from authz.core.listen_address import Address
from tests.bench import load, measured, through_envoy
from tests.bench.cpu_per_call import TREE, Subject, subject
from tests.bench.envoy_cost import CROWD, ENVOY_YAML
from tests.bench.figures import machine
from tests.bench.measured import Server
from tests.bench.processor_time import thread_seconds
from tests.support.real import eventually

Costs = tuple[float, float]  # microseconds of processor time a request: of Envoy, of the gate


@dataclass(frozen=True)
class Pair:
    """An Envoy, the gate that it asks, and a request that is allowed."""

    proxy: Server
    gate: Server
    request: load.Requests

    def cost(self, calls: int) -> Costs:
        """Return what a request takes in one round of so many."""
        pids = (self.proxy.pid, self.gate.pid)
        began = [thread_seconds(pid) for pid in pids]
        uvloop.run(load.repeat(self.proxy.address, self.request, calls=calls, **CROWD))
        envoy, gate = (
            (thread_seconds(pid) - before) / calls * 1e6
            for pid, before in zip(pids, began, strict=True)
        )
        return envoy, gate


def configuration(file: Path, ports: Ports, check: Address) -> str:
    """Return a configuration for `through_envoy.envoy` whose only sidecar is at `check`."""
    document = yaml.safe_load(file.read_text())
    resources = document["static_resources"]
    cluster = next(each for each in resources["clusters"] if each["name"] == "authz")
    gate = {"address": check.host, "port_value": check.port}
    cluster["load_assignment"]["endpoints"] = [
        {"lb_endpoints": [{"endpoint": {"address": {"socket_address": gate}}}]}
    ]
    document["admin"]["address"]["socket_address"]["port_value"] = ports.envoy_admin
    resources["listeners"][0]["address"] = {
        "socket_address": {"address": "127.0.0.1", "port_value": ports.envoy}
    }
    return through_envoy.alone(document)


@contextmanager
def pair(file: Path, gate: Subject) -> Iterator[Pair]:
    """Run an Envoy from a file in front of a gate."""
    ports = Ports.free()
    wanted = configuration(file, ports, gate.server.address)
    with through_envoy.envoy(wanted, ports) as proxy:
        uvloop.run(eventually(lambda: through_envoy.is_allowed(proxy.address, gate.key)))
        request = through_envoy.requests(through_envoy.CHECKED, gate.key)
        yield Pair(proxy, gate.server, request)


def measure(ours: Path, theirs: Path, rounds: int, calls: int) -> tuple[list[Costs], list[Costs]]:
    """Return the costs of each round with our file, and those of the other file or tree."""
    os.sched_setaffinity(0, measured.LOAD_CORE)
    found: tuple[list[Costs], list[Costs]] = ([], [])
    with ExitStack() as stack:
        gate = stack.enter_context(subject(TREE))
        other = stack.enter_context(subject(theirs.resolve())) if theirs.is_dir() else gate
        file = theirs / "envoy.yaml" if theirs.is_dir() else theirs
        pairs = [stack.enter_context(pair(*each)) for each in ((ours, gate), (file, other))]
        for number in range(rounds + 1):
            for which in (0, 1) if number % 2 else (1, 0):
                costs = pairs[which].cost(calls)
                if number:  # the first round is the warm-up
                    found[which].append(costs)
    return found


def show(ours: list[Costs], theirs: list[Costs]) -> None:
    """Print one line for Envoy, for the gate, and for both together."""
    print("microseconds of processor time a request, ours / theirs, and their ratio")
    print(f"{'':8}{'medians':>17}{'ratio':>8}{'lowest':>18}{'ratio':>8}")
    parts = {
        "Envoy": lambda costs: costs[0],
        "gate": lambda costs: costs[1],
        "both": sum,
    }
    for name, part in parts.items():
        here, there = ([part(costs) for costs in each] for each in (ours, theirs))
        ratio = statistics.median(a / b for a, b in zip(here, there, strict=True))
        middle = f"{statistics.median(here):8.2f} /{statistics.median(there):7.2f}"
        lowest = f"{min(here):9.2f} /{min(there):7.2f}"
        print(f"{name:8}{middle}{ratio:8.3f}{lowest}{min(here) / min(there):8.3f}")


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("theirs", type=Path, help="an Envoy configuration, or a checked-out tree")
    parser.add_argument("--ours", type=Path, default=ENVOY_YAML, help="our Envoy configuration")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--calls", type=int, default=5_000, help="of each Envoy in a round")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    given = parser.parse_args()
    ours, theirs = measure(given.ours, given.theirs, given.rounds, given.calls)
    if given.json:
        print(json.dumps({"ours": ours, "theirs": theirs, "machine": machine()}))
        return
    show(ours, theirs)
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
