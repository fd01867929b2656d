"""The cost of each part of envoy.yaml for Envoy: `python -m tests.bench.envoy_cost`.

Envoys with one worker, which answer by themselves, differ in one part each. The same number of
requests is sent to each of them in turn, in several rounds. A round gives the difference of Envoy's
processor time for a request to that of the recommended configuration; the median counts.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import uvloop
import yaml

from authz.cli.devstack import Ports
from tests.bench import load, through_envoy
from tests.bench.figures import machine, offer_record, record
from tests.bench.measured import Bench, Server
from tests.bench.processor_time import thread_seconds
from tests.support.real import eventually

Document = dict[str, Any]
ALL: Final = "all"
NONE: Final = "none"
CROWD: Final = {"connections": 2, "at_a_time": 32}
ROOT: Final = Path(__file__).parents[2]
ENVOY_YAML: Final = ROOT / "envoy.yaml"
SEVERAL: Final = ROOT / "deploy" / "systemd" / "envoy.yaml"


def _filters(document: Document) -> dict[str, Document]:
    filters = through_envoy.manager(document)["http_filters"]
    return {each["name"].rpartition(".")[2]: each for each in filters}


def _cluster(document: Document) -> Document:
    clusters = document["static_resources"]["clusters"]
    return next(each for each in clusters if each["name"] == "authz")


def _without_of_ext_authz(document: Document, name: str) -> None:
    del _filters(document)["ext_authz"]["typed_config"][name]


def _without_of_manager(document: Document, *names: str) -> None:
    for name in names:
        del through_envoy.manager(document)[name]


def _without_upgrades(document: Document) -> None:
    through_envoy.manager(document)["http_filters"].remove(_filters(document)["header_mutation"])


def _with_retries(document: Document) -> None:
    several = yaml.safe_load(SEVERAL.read_text())
    options = "typed_extension_protocol_options"
    _cluster(document)[options] = _cluster(several)[options]


def _with_retries_of_service(document: Document) -> None:
    service = _filters(document)["ext_authz"]["typed_config"]["grpc_service"]
    service["retry_policy"] = {"num_retries": 1, "retry_on": "connect-failure,unavailable"}


def _with_log(document: Document, at: int) -> None:
    given = through_envoy.manager(yaml.safe_load(ENVOY_YAML.read_text()))["access_log"]
    through_envoy.manager(document)["access_log"] = [given[at]]


# What each part costs: as a part of the configuration (+), or beside it (-).
_LEFT_OUT: Final = -1
_ADDED: Final = 1
PARTS: Final[Mapping[str, tuple[int, Callable[[Document], None]]]] = {
    "validate_mutations": (_LEFT_OUT, lambda d: _without_of_ext_authz(d, "validate_mutations")),
    "mutation_rules": (
        _LEFT_OUT,
        lambda d: _without_of_ext_authz(d, "decoder_header_mutation_rules"),
    ),
    "allowed_headers": (_LEFT_OUT, lambda d: _without_of_ext_authz(d, "allowed_headers")),
    "early_mutations": (
        _LEFT_OUT,
        lambda d: _without_of_manager(d, "early_header_mutation_extensions"),
    ),
    "paths": (
        _LEFT_OUT,
        lambda d: _without_of_manager(
            d, "normalize_path", "merge_slashes", "path_with_escaped_slashes_action"
        ),
    ),
    "upgrades": (_LEFT_OUT, _without_upgrades),
    "retries": (_ADDED, _with_retries),
    "retries_of_service": (_ADDED, _with_retries_of_service),
    "access_log": (_ADDED, lambda d: _with_log(d, 0)),
    "usage_logger": (_ADDED, lambda d: _with_log(d, 1)),
}


def cost(proxy: Server, made: load.Requests, calls: int) -> float:
    """Return the microseconds of processor time that a proxy takes for a request."""
    began = thread_seconds(proxy.pid)
    uvloop.run(load.repeat(proxy.address, made, calls=calls, **CROWD))
    return (thread_seconds(proxy.pid) - began) / calls * 1e6


def measure(rounds: int, calls: int) -> dict[str, list[float]]:
    """Return microseconds by part, one for each round; ALL and NONE are those of whole requests."""
    with ExitStack() as stack:
        bench = Bench(stack)
        check = bench.sidecars["fast"].address
        proxies = {}
        for name in (ALL, *PARTS):
            ports = Ports.free()
            document = yaml.safe_load(through_envoy.configuration(ports, check))
            if name != ALL:
                PARTS[name][1](document)
            proxy = stack.enter_context(through_envoy.envoy(yaml.safe_dump(document), ports))
            uvloop.run(eventually(lambda at=proxy.address: through_envoy.is_allowed(at, bench.key)))
            proxies[name] = proxy
        checked, free = (
            through_envoy.requests(path, bench.key)
            for path in (through_envoy.CHECKED, through_envoy.OPEN)
        )
        found: dict[str, list[float]] = {name: [] for name in (ALL, NONE, *PARTS)}
        for number in range(rounds + 1):
            costs = {name: cost(proxy, checked, calls) for name, proxy in proxies.items()}
            costs[NONE] = cost(proxies[ALL], free, calls)
            if number == 0:  # the warm-up
                continue
            for name in (ALL, NONE):
                found[name].append(costs[name])
            for name, (sign, _) in PARTS.items():
                found[name].append(sign * (costs[name] - costs[ALL]))
    return found


def main() -> None:
    """Print the cost of each part."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=10_000, help="of each measurement")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    offer_record(parser)
    given = parser.parse_args()
    found = measure(given.rounds, given.calls)
    if given.record:
        record({f"envoy_cost.{name}": each for name, each in found.items()})
    middle = {name: statistics.median(each) for name, each in found.items()}
    if given.json:
        print(json.dumps({"machine": machine(), "figures": middle}))
        return
    for name, value in middle.items():
        low, high = min(found[name]), max(found[name])
        print(f"{name}: {value:.1f} us a request ({low:.1f} to {high:.1f})")
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
