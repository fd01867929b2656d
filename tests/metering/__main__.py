"""Exactly-once counting under faults, and mutants that must be caught. Exit code 0: all as it must.

python -m tests.metering [--seconds 60] [--seed N] [--meters 3] [--no-mutants]

A real Envoy with two workers sends the usage of 15 shapes of requests to the meters. Meters are
killed, the store is frozen and restarted, links are cut, Envoy is drained and replaced twice. At
the end counts are compared with the answers that clients got, for each key and outcome, and with
Envoy's own log by `authz usage reconcile`. Then Envoy is killed by SIGKILL: no more may be missing
than it held, and the store must say how many are.
"""

import argparse
import random
import sys

import uvloop

from tests.metering.run import run
from tests.metering.worker import MUTANTS

MUTANT_SECONDS = 20.0
DRAINS = 2
ATTEMPTS = 4  # of each mutant: its fault needs a commit at the wrong moment


def main() -> None:
    """Run, print, and exit."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--meters", type=int, default=3)
    parser.add_argument("--no-mutants", action="store_true")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    report = uvloop.run(run(given.seconds, seed, meters=given.meters, drains=DRAINS))
    rate = report.answered / report.seconds
    print(f"answered {report.answered}, {rate:.0f} a second: {dict(report.made)}")
    print(f"faults {dict(report.faults)}")
    print(f"repeated and left out {report.repeated}, missing {report.missing}")
    print(f"differences {report.differences or 'none'}")
    print(f"reconcile: exit code {report.reconciled[0]}\n{report.reconciled[1]}")
    print(f"SIGKILL of Envoy: {report.killed}", flush=True)
    passed = report.passed
    for mutant in () if given.no_mutants else MUTANTS:
        is_caught = any(
            uvloop.run(
                run(MUTANT_SECONDS, seed + n, meters=given.meters, mutant=mutant)
            ).differences
            for n in range(ATTEMPTS)
        )
        print(f"{mutant}: {'caught' if is_caught else 'NOT CAUGHT'}", flush=True)
        passed = passed and is_caught
    print("passed" if passed else "FAILED")
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
