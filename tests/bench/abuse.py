"""Measures good keys beside failures from the same addresses: `python -m tests.bench.abuse`.

A real sidecar on a core of its own. 5,000 addresses send forged keys, beside good keys from the
same addresses. In each round the good keys come alone first, then beside the failures, then beside
as many other good keys; the medians of the ratios count. The ratio to the good keys says whether a
refusal is worse than an allow; the rest is the load of the core. No good key may be refused, and
the addresses have to be blocked. late: the p99 by which the load itself was late, in the worst
look; on a quiet machine it is far below the p99 of good keys alone. us: processor time of a Check
in the whole sidecar, in batches of 16, the lowest of some rounds, so that a busy machine matters
little. busy: the share of the core that the sidecar took beside failures, the median of the looks.
It is about twice the rates times us, because at these rates the sidecar wakes, reads and writes for
nearly each Check; on a busy machine Checks wait and come in batches, and it is lower. Above a half,
the p99 grows by waiting alone.

While latencies are measured, the sidecar has real-time priority, if that is allowed
(`alone_on_core`), so that it does not wait for other programs. A sidecar that uses half of its core
waits longer for these than one that sleeps most of the time: that says how the scheduler shares a
core, and nothing about failures. `--shared` leaves the priority as it is.
"""

import argparse
import json
import statistics
from contextlib import ExitStack
from math import inf
from typing import Any

from tests.bench.check_hot import machine
from tests.bench.flood import KEYS, Flooded

ADDRESSES = [f"100.1{one:02}.1{other:02}.100" for one in range(50) for other in range(100)]
# A busy machine may stand still for seconds, which ends trust in the store.
SETTINGS = {
    "abuse": {"failures_per_minute": 10},
    "cache": {"ttl": "1h", "trust_lease": "4s"},
    "check": {"transport": "fast", "deadline": "3s"},
}
COSTS = 8  # rounds
LIMITS = {"ratio": 1.5, "ratio_as_good": 1.1, "cost": 1.3, "refused": 0, "growth_mib": 16.0}


def run(
    good: float, failures: float, seconds: float, rounds: int, *, alone_on_core: bool
) -> dict[str, Any]:
    """Return the measurements. good, failures: a second."""
    with ExitStack() as stack:
        server = Flooded(stack, SETTINGS, peers=ADDRESSES)
        while server.allowed() < 3 * KEYS:
            server.saturation(1)  # every good key has been seen
        costs = dict.fromkeys(("good", "blocked"), inf)
        server.cost(15 * len(ADDRESSES), garbage=True)  # all addresses are blocked from now on
        for _ in range(COSTS):
            for name, least in costs.items():
                costs[name] = min(least, server.cost(garbage=name == "blocked"))
        preferred = alone_on_core and server.prefer()
        before, sent = server.allowed(), server.answered
        alone, beside, as_good, mib, busy = [], [], [], [], []
        for _ in range(rounds):
            alone.append(server.p99(good, seconds))
            used = server.processor_seconds()
            beside.append(server.p99(good, seconds, failures))
            busy.append((server.processor_seconds() - used) / seconds)
            as_good.append(server.p99(good, seconds, failures, garbage=False))
            mib.append(server.mib())
        refused = server.answered - sent - (server.allowed() - before)
        blocked = server.blocked()

    def times(base: list[float]) -> float:
        """Return the ratio of each round with itself, so that other load hits both."""
        pairs = zip(beside, base, strict=True)
        return round(statistics.median(one / other for one, other in pairs), 2)

    return {
        "p99_alone_ms": round(statistics.median(alone) * 1000, 2),
        "p99_beside_ms": round(statistics.median(beside) * 1000, 2),
        "p99_as_good_ms": round(statistics.median(as_good) * 1000, 2),
        "ratio": times(alone),
        "ratio_as_good": times(as_good),
        "us": {name: round(each, 1) for name, each in costs.items()},
        "cost": round(costs["blocked"] / costs["good"], 2),
        "busy": round(statistics.median(busy), 2),
        "late_ms": round(server.late * 1000, 2),
        "alone_on_core": preferred,
        "refused": refused,
        "blocked": blocked,
        "mib": round(mib[-1], 1),
        "growth_mib": round(mib[-1] - mib[0], 1),
    }


def main() -> None:
    """Measure, and exit with 1 if a figure is over its limit."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--good", type=float, default=1_000, help="good keys a second")
    parser.add_argument("--failures", type=float, default=20_000, help="failures a second")
    parser.add_argument("--seconds", type=float, default=5, help="for each latency")
    parser.add_argument("--rounds", type=int, default=5, help="of them; medians count")
    parser.add_argument("--shared", action="store_true", help="let other programs interrupt")
    given = parser.parse_args()
    found = run(
        given.good,
        given.failures,
        given.seconds,
        given.rounds,
        alone_on_core=not given.shared,
    )
    is_good = found["blocked"] > 0 and all(found[name] <= most for name, most in LIMITS.items())
    print(json.dumps(found | {"limits": LIMITS, "within_limits": is_good}))
    print(f"\n{machine()}")
    raise SystemExit(0 if is_good else 1)


if __name__ == "__main__":
    main()
