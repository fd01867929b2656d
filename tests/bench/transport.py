"""Compares the fast transport with grpcio and with a constant answer, in one run.

    python -m tests.bench.transport [--seconds 4] [--rounds 3] [--json] [MEASUREMENT...]

Real sidecars with a real store, one key in their caches. A server has a core for itself, with all
its threads; the load, and the proxy where there is one, have the other. Every measurement asks the
servers in turn, several rounds of it, and compares medians.
"""

import argparse
import json
import multiprocessing
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from math import inf
from typing import Any
from urllib.request import Request, urlopen

import uvloop

from authz.core.listen_address import Address
from tests.bench import load, polling
from tests.bench.figures import machine, offer_record, record
from tests.bench.measured import Bench, Server, medians
from tests.support.h2.proxy import proxy

CONNECTIONS, AT_A_TIME = 2, 16  # what saturates
PROXY_AT_A_TIME = 64
BUSY, QUIET_RATE = 1000, 200  # calls at a time of one client, and a second of another
LOOKS = 8  # at a tail, in each round
CROWD, CROWD_AT_A_TIME, CROWD_ROUNDS = 1000, 10, 3


def saturated(bench: Bench, seconds: float, requests: load.Requests) -> dict[str, float]:
    """Return the calls a second of each server."""
    found = {}
    for name, server in bench.all().items():
        asked = load.saturate(
            server.address,
            requests,
            connections=CONNECTIONS,
            at_a_time=AT_A_TIME,
            seconds=seconds,
        )
        found[name] = uvloop.run(asked).answered / seconds
    return found


def one_in_flight(bench: Bench, seconds: float) -> dict[str, float]:
    """Return microseconds: the median of one call after the other."""
    found = {}
    for name, server in bench.all().items():
        tally = polling.one_at_a_time(server.address, bench.plain, seconds=seconds)
        found[name] = tally.quantile(0.5) * 1e6
    return found


def behind_a_proxy(bench: Bench, seconds: float) -> dict[str, float]:
    """Return requests a second through a real Envoy with one worker, on the load's core."""
    found = {}
    for name, server in bench.all().items():
        with _proxied(bench, server) as address:
            asked = load.saturate(
                address,
                bench.proxied,
                connections=CONNECTIONS,
                at_a_time=PROXY_AT_A_TIME // CONNECTIONS,
                seconds=seconds,
            )
            found[name] = uvloop.run(asked).answered / seconds
    return found


@contextmanager
def _proxied(bench: Bench, server: Server) -> Iterator[Address]:
    """Run an Envoy that asks this server, and check at both ends that it allows requests."""
    with proxy(server.address) as url:
        _require_allow(url, bench.key)
        yield Address.parse("", url.removeprefix("http://"))
        _require_allow(url, bench.key)


def _require_allow(url: str, key: str) -> None:
    with urlopen(Request(url, headers={"x-api-key": key}), timeout=10) as answer:
        if answer.status != 200:
            raise SystemExit(f"the proxy answers {answer.status}")


def tail_behind_a_proxy(bench: Bench, seconds: float, rounds: int) -> dict[str, float]:
    """Return microseconds: the p99 of requests at half of the proxy's saturation.

    The figure is small beside other events on a machine, so it is measured often and briefly.
    """
    rate = behind_a_proxy(bench, seconds)["fast"] / 2
    asked = {"fast": bench.sidecars["fast"], "constant fast": bench.constants["fast"]}
    with ExitStack() as stack:
        addresses = {
            name: stack.enter_context(_proxied(bench, server)) for name, server in asked.items()
        }
        looks = [
            {
                name: _paced(address, bench.proxied, seconds / LOOKS, rate, spin=False).quantile(
                    0.99
                )
                * 1e6
                for name, address in addresses.items()
            }
            for _ in range(rounds * LOOKS)
        ]
    return medians(looks) | {"rate": rate}


def tail(bench: Bench, seconds: float, rounds: int) -> dict[str, float]:
    """Return the p99 without a proxy, at half of the sidecar's load and of each server's.

    The first has no limit. At random times each call pays for a wake-up and two system calls. So
    the sidecar is busy for three quarters of the time and the constant answer for a third, and the
    figure shows the queue of the one and no queue of the other.
    """
    fast, constant = bench.sidecars["fast"], bench.constants["fast"]
    looks = []
    for _ in range(rounds):
        most = saturated(bench, seconds, bench.plain)
        half, own_half = most["fast"] / 2, most["constant fast"] / 2
        asked = {
            "fast": (fast, half),
            "constant fast": (constant, half),
            "constant fast at its own half": (constant, own_half),
        }
        for _ in range(LOOKS):
            look = {"rate": half, "rate of its own": own_half}
            for name, (server, rate) in asked.items():
                tally = _paced(server.address, bench.plain, seconds / LOOKS, rate, spin=True)
                look[name] = tally.quantile(0.99) * 1e6
                look[f"late for {name}"] = load.quantile(tally.late, 0.99) * 1e6
            looks.append(look)
    return medians(looks)


def _paced(
    address: Address, requests: load.Requests, seconds: float, rate: float, *, spin: bool
) -> load.Tally:
    tally = polling.pace(
        address, requests, connections=CONNECTIONS, rate=rate, seconds=seconds, spin=spin
    )
    if tally.failed:
        raise SystemExit(f"{tally.failed} calls were never answered")
    return tally


def beside(bench: Bench, seconds: float, rounds: int) -> dict[str, float]:
    """Return microseconds: the p99 of one client, alone and beside one that never rests."""
    address = bench.sidecars["fast"].address

    def busy() -> None:
        asked = load.saturate(
            address, bench.plain, connections=1, at_a_time=BUSY, seconds=seconds * 2
        )
        uvloop.run(asked)

    def p99() -> float:
        asked = polling.pace(
            address, bench.plain, connections=1, rate=QUIET_RATE, seconds=seconds, spin=False
        )
        return asked.quantile(0.99) * 1e6

    looks = []
    for _ in range(rounds):
        other = multiprocessing.get_context("fork").Process(target=busy)
        alone = p99()
        other.start()
        looks.append({"alone": alone, "beside": p99()})
        other.join()
    return medians(looks)


def crowded(bench: Bench) -> dict[str, float]:
    """Return the sidecar's megabytes with calls on many connections, and the failures."""
    server = bench.sidecars["fast"]

    async def ask() -> load.Tally:
        return await load.crowd(
            server.address,
            bench.plain,
            connections=CROWD,
            at_a_time=CROWD_AT_A_TIME,
            rounds=CROWD_ROUNDS,
        )

    before, tally = server.rss, uvloop.run(ask())
    return {"before": before / 1e6, "after": server.rss / 1e6, "failed": tally.failed}


LIMITS = {
    "saturated": ("fast / grpcio", 8.0, "least"),
    "saturated, every trace another": ("fast / grpcio", 6.0, "least"),
    "one in flight": ("fast / grpcio", 0.4, "most"),
    "behind a proxy": ("fast / grpcio", 2.5, "least"),
    "behind a proxy, of a constant answer": ("fast / constant fast", 0.85, "least"),
    "p99 behind a proxy, at half of saturation": ("fast / constant fast", 1.5, "most"),
    "p99 without one": ("fast / constant fast", inf, "most"),
    "p99 without one, each at its own half": ("fast / constant fast at its own half", 1.5, "most"),
    "p99 of a quiet client": ("beside / alone", inf, "most"),
    "1000 connections": ("megabytes", 150.0, "most"),
}

PUBLISHED = {
    "saturated": "transport.saturated",
    "saturated, every trace another": "transport.traced",
    "one in flight": "transport.single",
    "behind a proxy": "transport.envoy",
    "behind a proxy, of a constant answer": "transport.envoy_constant",
    "p99 behind a proxy, at half of saturation": "transport.envoy_constant_p99",
    "p99 without one": "transport.constant_p99_same",
    "p99 without one, each at its own half": "transport.constant_p99",
    "p99 of a quiet client": "transport.quiet",
    "1000 connections": "transport.connections",
}


def measure(bench: Bench, wanted: list[str], seconds: float, rounds: int) -> dict[str, Any]:
    """Return the figures of the wanted measurements."""
    kinds = {
        "saturated": lambda: saturated(bench, seconds, bench.plain),
        "saturated, every trace another": lambda: saturated(bench, seconds, bench.traced),
        "one in flight": lambda: one_in_flight(bench, seconds),
        "behind a proxy": lambda: behind_a_proxy(bench, seconds),
    }
    found: dict[str, Any] = {}
    for name, run in kinds.items():
        if name.startswith(tuple(wanted)):
            found[name] = medians([run() for _ in range(rounds)])
    if "behind a proxy" in found:
        found["behind a proxy, of a constant answer"] = found["behind a proxy"]
    if "p99" in wanted:
        found["p99 behind a proxy, at half of saturation"] = tail_behind_a_proxy(
            bench, seconds, rounds
        )
        found["p99 without one"] = tail(bench, seconds, rounds)
        found["p99 without one, each at its own half"] = found["p99 without one"]
    if "quiet" in wanted:
        found["p99 of a quiet client"] = beside(bench, seconds, rounds)
    if "1000" in wanted:
        found["1000 connections"] = crowded(bench)
    return found


def judged(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return each figure with its ratio, and whether it is within its limit."""
    return {name: _judged(name, figures) for name, figures in found.items()}


def _judged(name: str, figures: dict[str, float]) -> dict[str, Any]:
    what, limit, side = LIMITS[name]
    if what == "megabytes":
        ratio = float("inf") if figures["failed"] else figures["after"]
    else:
        above, below = what.split(" / ")
        ratio = figures[above] / figures[below]
    good = ratio >= limit if side == "least" else ratio <= limit
    rest = {which: round(value, 1) for which, value in figures.items()}
    return {"ratio": round(ratio, 3), f"at {side}": limit, "good": good} | rest


def main() -> None:
    """Measure, and exit with 1 if a figure is over its limit."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    names = ["saturated", "one", "behind", "p99", "quiet", "1000"]
    listed = ", ".join(names)
    parser.add_argument(
        "measurements", nargs="*", default=names, metavar="MEASUREMENT", help=f"{listed}; or all"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each server in each round")
    parser.add_argument("--rounds", type=int, default=3)
    offer_record(parser)
    given = parser.parse_args()
    if strange := sorted(set(given.measurements) - set(names)):
        parser.error(f"no such measurement: {' '.join(strange)}; there are {listed}")
    with ExitStack() as stack:
        bench = Bench(stack)
        found = judged(measure(bench, given.measurements, given.seconds, given.rounds))
    good = all(figures["good"] for figures in found.values())
    if given.record:
        record({PUBLISHED[name]: figures["ratio"] for name, figures in found.items()})
    if given.json:
        print(json.dumps({"machine": machine(), "figures": found, "within_limits": good}))
    else:
        show(found)
    raise SystemExit(0 if good else 1)


def show(found: dict[str, dict[str, Any]]) -> None:
    """Print one line for each."""
    for name, figures in found.items():
        what, limit, side = LIMITS[name]
        rest = ", ".join(
            f"{which} {value:,.0f}"
            for which, value in figures.items()
            if which not in ("ratio", "at least", "at most", "good")
        )
        mark = "" if figures["good"] else "   OVER THE LIMIT"
        print(f"{name}: {what} {figures['ratio']:.2f} (at {side} {limit:g}){mark}\n    {rest}")
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
