"""The cost of one limit in a whole sidecar: `python -m tests.bench.one_limit`.

The same requests with a key without limits and with a key with one limit that is never reached, in
turn: calls a second at saturation, and the p99 at a rate below it. The store counts the limit, and
shares the cores with the sidecar and the load. late: the p99 by which the load itself was late, in
the worst look; on a quiet machine it is far below the other figures.
"""

import argparse
import os
import statistics

import uvloop

from tests.bench import load, measured, polling
from tests.bench.cpu_per_call import TREE, subject
from tests.bench.figures import machine

PLAIN, LIMITED = "a key", "a key with a limit"
LEAST, MOST = 0.85, 1.3  # calls a second, and p99, with the limit against without
CONNECTIONS, AT_A_TIME = 2, 16


def run(rate: float, seconds: float, rounds: int) -> dict[str, float]:
    """Return the figures. Each look takes so many seconds; medians of the rounds count."""
    os.sched_setaffinity(0, measured.LOAD_CORE)
    calls: list[float] = []
    tails: dict[str, list[float]] = {PLAIN: [], LIMITED: []}
    ratios, late = [], 0.0
    with subject(TREE) as found:
        address, requests = found.server.address, found.requests
        for _ in range(rounds):
            most = {}
            for case, tail in tails.items():
                saturating = load.saturate(
                    address,
                    requests[case],
                    connections=CONNECTIONS,
                    at_a_time=AT_A_TIME,
                    seconds=seconds,
                )
                most[case] = uvloop.run(saturating).answered
                tally = polling.pace(
                    address,
                    requests[case],
                    connections=CONNECTIONS,
                    rate=rate,
                    seconds=seconds,
                    spin=True,
                )
                tail.append(tally.quantile(0.99))
                late = max(late, load.quantile(tally.late, 0.99))
            calls.append(most[LIMITED] / most[PLAIN])
            ratios.append(tails[LIMITED][-1] / tails[PLAIN][-1])
    return {
        "calls": statistics.median(calls),
        "p99": statistics.median(ratios),
        "p99_plain_us": statistics.median(tails[PLAIN]) * 1e6,
        "p99_limited_us": statistics.median(tails[LIMITED]) * 1e6,
        "late_us": late * 1e6,
    }


def main() -> None:
    """Measure, and exit with 1 if a ratio is over its limit."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rate", type=float, default=10_000, help="calls a second for the p99")
    parser.add_argument("--seconds", type=float, default=2, help="of each look")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    found = run(given.rate, given.seconds, given.rounds)
    print(f"calls a second, with one limit / without: {found['calls']:.2f} (at least {LEAST})")
    print(
        f"p99 at {given.rate:g} a second: {found['p99_limited_us']:.0f} / "
        f"{found['p99_plain_us']:.0f} us = {found['p99']:.2f} times (at most {MOST}); "
        f"late by {found['late_us']:.0f} us"
    )
    print(machine())
    raise SystemExit(found["calls"] < LEAST or found["p99"] > MOST)


if __name__ == "__main__":
    main()
