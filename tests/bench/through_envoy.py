"""The cost of asking authz, seen by Envoy's clients: `python -m tests.bench.through_envoy`.

Envoy runs from the file that users copy, with one worker; it answers by itself, on one path without
the filter, on another with it. The sidecar has a core for itself, Envoy and the load share the
other. All in turn, several rounds of it; medians, and their ratio to no filter.
"""

import argparse
import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvloop
import yaml

from authz.cli import binaries
from authz.cli.devstack import Ports, envoy_config
from authz.core.listen_address import Address
from tests.bench import load, polling
from tests.bench.client import Client
from tests.bench.figures import machine, offer_record, record
from tests.bench.measured import Bench, Server, medians
from tests.support.real import eventually

OPEN, CHECKED = "/healthz", "/v1/models"  # envoy.yaml exempts the first
CONNECTIONS, AT_A_TIME = 2, 32


def manager(document: dict[str, Any]) -> dict[str, Any]:
    """Return the connection manager of a configuration."""
    (listener,) = document["static_resources"]["listeners"]
    found: dict[str, Any] = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return found


def configuration(ports: Ports, check: Address) -> str:
    """envoy.yaml, with an answer of Envoy's own where it has a backend, and no access log."""
    return alone(yaml.safe_load(envoy_config(ports, check)))


def alone(wanted: dict[str, Any]) -> str:
    """Return a configuration with an answer of Envoy's own for a backend, and no access log."""
    own = manager(wanted)
    del own["access_log"]
    for route in own["route_config"]["virtual_hosts"][0]["routes"]:
        route.pop("route", None)
        route["direct_response"] = {"status": 200, "body": {"inline_string": "ok"}}
    return yaml.safe_dump(wanted)


@contextmanager
def envoy(configuration: str, ports: Ports) -> Iterator[Server]:
    """Run an Envoy with one worker. ports: those of the configuration."""
    with TemporaryDirectory(prefix="authz-") as directory:
        file = Path(directory) / "envoy.yaml"
        file.write_text(configuration)
        command = [binaries.envoy(), "-c", file, "--disable-hot-restart", "--concurrency", "1"]
        command += ["--log-level", "error"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:  # its access log
            try:
                yield Server(Address("127.0.0.1", ports.envoy), process.pid)
            finally:
                process.kill()


@contextmanager
def asking(check: Address) -> Iterator[Server]:
    """Run an Envoy that asks this address on CHECKED, and nobody on OPEN."""
    ports = Ports.free()
    with envoy(configuration(ports, check), ports) as found:
        yield found


async def status(address: Address, path: str, key: str) -> int:
    """Return the status that Envoy answers, or 0 if it is unreachable."""
    try:
        client = await Client.connect(address.host, address.port)
    except OSError:
        return 0
    answer = await client.get(path, key)
    await client.close()
    return answer


def requests(path: str, key: str) -> load.Requests:
    """The same for both paths."""
    host, agent = (":authority", "api.example.com"), ("user-agent", "bench")
    method, scheme = (":method", "GET"), (":scheme", "http")
    return load.Requests([method, scheme, (":path", path), host, agent, ("x-api-key", key)])


def asked(address: Address, path: str, key: str, seconds: float) -> tuple[float, float]:
    """Requests a second when saturated, and microseconds of one in flight, the median."""
    made = requests(path, key)
    many = load.saturate(
        address, made, connections=CONNECTIONS, at_a_time=AT_A_TIME, seconds=seconds
    )
    rate = uvloop.run(many).answered / seconds
    one = polling.one_at_a_time(address, made, seconds=seconds / 2, spin=False)  # Envoy's core
    return rate, one.quantile(0.5) * 1e6


def measure(bench: Bench, rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    """Rates and times: without the filter, and with the sidecar on each transport."""
    rates, times = [], []
    with ExitStack() as stack:
        proxies = {
            transport: stack.enter_context(asking(sidecar.address)).address
            for transport, sidecar in bench.sidecars.items()
        }
        for address in proxies.values():
            uvloop.run(eventually(lambda at=address: is_allowed(at, bench.key)))
        cases = {"no filter": (proxies["fast"], OPEN)}
        cases |= {transport: (address, CHECKED) for transport, address in proxies.items()}
        for _ in range(rounds):
            each = {name: asked(*case, bench.key, seconds) for name, case in cases.items()}
            rates.append({name: rate for name, (rate, _) in each.items()})
            times.append({name: median for name, (_, median) in each.items()})
        for address in proxies.values():
            if not uvloop.run(is_allowed(address, bench.key)):
                raise SystemExit("what was measured was no allow")
    return {"requests a second": medians(rates), "microseconds, one in flight": medians(times)}


async def is_allowed(address: Address, key: str) -> bool:
    """With the key, and only with it."""
    found = [await status(address, CHECKED, given) for given in (key, "x")]
    return found == [200, 401]


def run(rounds: int, seconds: float) -> dict[str, Any]:
    """Start everything and measure."""
    with ExitStack() as stack:
        figures = measure(Bench(stack), rounds, seconds)
    return {"machine": machine(), "figures": figures}


def main() -> None:
    """Print the ratios, and what they are made of."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    offer_record(parser)
    given = parser.parse_args()
    found = run(given.rounds, given.seconds)
    if given.record:
        times = found["figures"]["microseconds, one in flight"]
        record({"added.p50": (times["fast"] - times["no filter"]) / 1000})
    if given.json:
        print(json.dumps(found))
        return
    for name, each in found["figures"].items():
        without = each["no filter"]
        ratios = (f"{kind} / no filter {value / without:.2f}" for kind, value in each.items())
        print(f"{name}: {', '.join(list(ratios)[1:])}")
        print("    " + ", ".join(f"{kind} {value:,.0f}" for kind, value in each.items()))
    print(f"\n{found['machine']}")


if __name__ == "__main__":
    main()
