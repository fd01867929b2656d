"""Random faults under load, and a checker. Exit code 0: no violation, and every mutant is caught.

python -m tests.chaos [--seconds 60] [--seed N] [--sidecars 3] [--cluster [--server PATH]] [--json]

Episodes with one store and all its faults alternate with episodes of a failover behind Sentinel.
With --cluster each episode has a cluster: an owner is cut off, killed and relieved, and a slot
moves. Episodes with eight partitions alternate with those with one, and the packaged Valkey with
redis-server, if the PATH has it. --server names the only one.
The same seed makes the same faults in the same order; their exact timing depends on the machine.
"""

import argparse
import json
import logging
import random
import sys
import time
from functools import partial

import uvloop

from tests.bench.figures import offer_record, record
from tests.chaos.divided_cluster import servers_of
from tests.chaos.run import Report, run, run_on_cluster


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--sidecars", type=int, default=3)
    parser.add_argument("--cluster", action="store_true")
    parser.add_argument("--server", default=None)
    parser.add_argument("--json", action="store_true")
    offer_record(parser)
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    seed = random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    print(f"seed {seed}", file=sys.stderr, flush=True)
    began = time.monotonic()
    play = partial(run_on_cluster, servers=servers_of(given.server)) if given.cluster else run
    report = uvloop.run(play(seed, given.seconds, given.sidecars))
    document = {"seed": seed, "seconds": round(time.monotonic() - began)} | report.document()
    if given.record:
        latest = document["subjects"]["leased"]["latest_allow_ms"]
        record(
            {
                "chaos.changes": report.confirmed,
                "chaos.faults": report.faults.total(),
                "chaos.violations": len(report.violations),
                "chaos.answers": document["subjects"]["leased"]["answers"],
                "chaos.latest": latest["grace 0 s"] / 1000,
                "chaos.latest_grace": latest["grace 2 s"] / 1000,
            }
        )
    print(json.dumps(document) if given.json else as_text(document, report), flush=True)
    sys.exit(0 if report.passed else 1)


def as_text(document: dict, report: Report) -> str:
    """Return the report as text."""
    lines = [f"seed {document['seed']}, {document['seconds']} s"]
    lines.append(f"changes {document['changes']}, faults {document['faults']}")
    lines.append(f"longest return after the outage, in ms, by fault: {document['returns_ms']}")
    if document["clusters"]:
        lines.append(f"episodes on {document['clusters']}")
    for kind, found in document["subjects"].items():
        lines.append(f"{kind}: {found}")
    lines += report.violations + report.late
    lines += [f"never put to the test: {trial}" for trial in report.untried]
    lines.append("passed" if report.passed else "FAILED")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
