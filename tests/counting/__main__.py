"""Limits and usage on a cluster under its faults. Exit code 0: no violation, every mutant caught.

python -m tests.counting [--seconds 60] [--seed N] [--sidecars 3] [--server PATH]

Sidecars take from the limits of keys, projects and tenants in eight partitions, while an owner is
cut off, killed and relieved, slots move, a shard is lost, and one is added and removed. Meters
count usage, and are killed. No window may hold more than its limit, and each entry counts once. If
a change of the owner was not in order, the new one may lack what no replica had: so many units are
excused. The packaged Valkey takes turns with redis-server. --server names the only one.
"""

import argparse
import logging
import random
import sys

import uvloop

from tests.chaos.divided_cluster import servers_of
from tests.counting.run import run


def main() -> None:
    """Run, print and exit."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--sidecars", type=int, default=3)
    parser.add_argument("--server", default=None)
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    seed = random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    servers = servers_of(given.server)
    report = uvloop.run(run(seed, given.seconds, given.sidecars, servers=servers))
    print(report, flush=True)
    sys.exit(0 if report.passed else 1)


if __name__ == "__main__":
    main()
