"""The gate beside others that do its job: `make peers`, or `python -m tests.bench.peers`.

A server in Go does the same job with grpc-go as it comes; see main.go. It is built here, which
needs Go and the module proxy. Envoy's own filter `api_key_auth` has the keys in its configuration.
`--compiled TREE` adds the gate with its hot path compiled, as it is in the image; `make compiled`
makes such a tree.

Each server has one core for all its threads, and the load the other. They are asked the same bytes,
in turn, several rounds of it. Answers are checked before and after. Medians count.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop
import yaml

from authz.cli.devstack import Ports
from authz.core.listen_address import Address
from authz.process import hot_path
from tests.bench import load, polling, through_envoy
from tests.bench.figures import machine, offer_record, record
from tests.bench.measured import SERVER_CORE, Bench, Server, allow, medians, process, sidecar
from tests.bench.processor_time import thread_seconds
from tests.support.real import eventually

SOURCE = Path(__file__).parent
CONNECTIONS, AT_A_TIME = 4, 16
STRANGERS = 999  # other keys that the Go server knows


def build(directory: Path) -> Path:
    """Build the server in Go and return its file. Raises SystemExit without Go."""
    go = shutil.which("go")
    if go is None:
        raise SystemExit("the Go server cannot be built: install Go, for example golang-go")
    file = directory / "peer"
    print("building the server in Go, some minutes at the first time", flush=True)
    subprocess.run([go, "build", "-trimpath", "-o", file, "."], cwd=SOURCE, check=True)
    return file


@contextmanager
def go_server(program: Path, key: str) -> Iterator[Server]:
    """Run the server in Go on the servers' core. It knows `key` and STRANGERS others."""
    keys = program.with_name("keys.jsonl")
    with keys.open("w") as lines:
        for number in range(STRANGERS + 1):
            entry = {
                "key": key if number == 0 else f"{key}{number}",
                "kid": "0123456789abcdef",
                "client": "bench",
                "env": "live",
                "scopes": ["models:generate", "models:read"],
                "expires_at": int(time.time()) + 86_400,
            }
            lines.write(f"{json.dumps(entry)}\n")
    environment = os.environ | {"GOMAXPROCS": str(len(SERVER_CORE))}
    with process([str(program), str(keys)], stdout=subprocess.PIPE, env=environment) as started:
        yield Server(Address.parse("", started.stdout.readline().strip()), started.pid)


def built_in(ports: Ports, key: str) -> str:
    """Return the configuration of `through_envoy` with Envoy's own filter for the key."""
    document = yaml.safe_load(through_envoy.configuration(ports, Address("127.0.0.1", ports.check)))
    filters = through_envoy.manager(document)["http_filters"]
    [at] = [at for at, each in enumerate(filters) if each["name"].endswith(".ext_authz")]
    filters[at] = {
        "name": "envoy.filters.http.api_key_auth",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth",
            "credentials": [{"key": key, "client": "bench"}],
            "key_sources": [{"header": "x-api-key"}],
        },
    }
    for route in through_envoy.manager(document)["route_config"]["virtual_hosts"][0]["routes"]:
        route.pop("typed_per_filter_config", None)  # of the filter that is gone
    return yaml.safe_dump(document)


def asked(server: Server, made: load.Requests, seconds: float) -> dict[str, float]:
    """Return calls a second and the server's µs a call when saturated, and µs of one in flight."""
    crowd = {"connections": CONNECTIONS, "at_a_time": AT_A_TIME}
    rate = (
        uvloop.run(load.saturate(server.address, made, seconds=seconds, **crowd)).answered / seconds
    )
    calls = max(1, int(rate * seconds / 2))
    began = thread_seconds(server.pid)
    uvloop.run(load.repeat(server.address, made, calls=calls, **crowd))
    spent = thread_seconds(server.pid) - began
    one = polling.one_at_a_time(server.address, made, seconds=seconds / 2)
    return {"rate": rate, "cpu": spent / calls * 1e6, "p50": one.quantile(0.5) * 1e6}


def rounds_of(
    cases: Mapping[str, tuple[Server, load.Requests]], rounds: int, seconds: float
) -> dict[str, dict[str, float]]:
    """Return the medians of `asked` by server, asked in turn, every second round backwards."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in cases}
    for number in range(rounds):
        for name in list(cases) if number % 2 else reversed(list(cases)):
            server, made = cases[name]
            found[name].append(asked(server, made, seconds))
    return {name: medians(each) for name, each in found.items()}


def require_compiled(tree: Path) -> Path:
    """Return the tree. Raises SystemExit if sidecars of it would run in pure Python."""
    command = [sys.executable, "-m", "authz.cli.main", "--version"]
    said = subprocess.run(command, cwd=tree, check=True, capture_output=True, text=True).stdout
    if hot_path.COMPILED not in said:
        raise SystemExit(f"{tree} is not compiled: make compiled")
    return tree


def measure(
    program: Path, rounds: int, seconds: float, compiled: Path | None = None
) -> dict[str, float]:
    """Return the figures by their names in docs/figures.json."""
    with ExitStack() as stack:
        bench = Bench(stack)
        go = stack.enter_context(go_server(program, bench.key))
        asyncio.run(allow(go.address, bench.message))
        servers = {
            "authz": bench.sidecars["fast"],
            "authz_grpcio": bench.sidecars["grpcio"],
            "go_api_key": go,
            "constant": bench.constants["fast"],
        }
        if compiled is not None:
            started = sidecar(bench.file, "fast", tree=require_compiled(compiled))
            servers["authz_compiled"] = stack.enter_context(started)
        direct = rounds_of(
            {name: (each, bench.plain) for name, each in servers.items()}, rounds, seconds
        )
        memory = {f"direct.{name}.rss": each.rss / 1e6 for name, each in servers.items()}
        ports = Ports.free()
        own = stack.enter_context(through_envoy.envoy(built_in(ports, bench.key), ports))
        asked_by_envoy = servers.keys() & {"authz", "authz_compiled", "go_api_key"}
        proxies = {
            name: stack.enter_context(through_envoy.asking(servers[name].address))
            for name in sorted(asked_by_envoy)
        } | {"api_key_auth": own}
        _require_answers(proxies, bench.key)
        checked, free = (
            through_envoy.requests(path, bench.key)
            for path in (through_envoy.CHECKED, through_envoy.OPEN)
        )
        cases = {name: (proxy, checked) for name, proxy in proxies.items()}
        cases["none"] = proxies["authz"], free
        proxied = rounds_of(cases, rounds, seconds)
        _require_answers(proxies, bench.key)
        for name in asked_by_envoy:
            asyncio.run(allow(servers[name].address, bench.message))
    found = {"direct": direct, "envoy": proxied}
    return memory | {
        f"{kind}.{name}.{unit}": value
        for kind, tables in found.items()
        for name, table in tables.items()
        for unit, value in table.items()
    }


def _require_answers(proxies: Mapping[str, Server], key: str) -> None:
    """Wait until each proxy allows requests with the key, and only those."""
    for proxy in proxies.values():
        uvloop.run(eventually(lambda at=proxy.address: through_envoy.is_allowed(at, key)))


def main() -> None:
    """Print the figures, and the ratio to the server in Go."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.peers", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--compiled", type=Path, metavar="TREE", help="the gate of this tree, too")
    offer_record(parser)
    given = parser.parse_args()
    with TemporaryDirectory(prefix="authz-") as directory:
        found = measure(build(Path(directory)), given.rounds, given.seconds, given.compiled)
    if given.record:
        record(found)
    if given.json:
        print(json.dumps({"machine": machine(), "figures": found}))
        return
    for name, value in found.items():
        print(f"{name}: {value:,.1f}")
    for name in ("authz", "authz_compiled"):
        if rate := found.get(f"direct.{name}.rate"):
            print(f"{name} / Go, saturated: {rate / found['direct.go_api_key.rate']:.2f}")
    print(machine())


if __name__ == "__main__":
    main()
