"""Many processes, one store, five times the limits: `make limits`.

    python -m tests.spending [--seconds 30] [--processes 8] [--seed N]

In no window of a limit's length may more have been let pass than the limit; with leases nearly all
of it has to be used; and the same judge has to see that stores which count wrong do so.
"""

import argparse
import random

from tests.bench.figures import offer_record, record
from tests.spending.fleet import Fleet, Outcome

LEAST_USED = 0.96
MUTANT_SECONDS = 5

PUBLISHED = {
    "3000/s": "spending.second",
    "60000/min": "spending.minute",
    "50/s": "spending.small",
}


def show(title: str, outcome: Outcome) -> None:
    """One run in a few lines."""
    parts = ", ".join(f"{part:.1%} of {name}" for name, part in outcome.used.items())
    calls = outcome.calls / max(1, sum(outcome.admitted))
    print(f"{title}: let pass {outcome.admitted}, used {parts}, {calls:.2f} calls each")
    print(f"  faults {outcome.faults}, violations {outcome.violations or 'none'}")


def main() -> None:
    """Runs, tells, and exits with 1 when anything is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    offer_record(parser)
    given = parser.parse_args()
    print(f"seed {given.seed}")
    right = Fleet(given.processes, 5.0).run(given.seconds, faults=True, seed=given.seed)
    show("the real script", right)
    if given.record:
        calls = right.calls / max(1, sum(right.admitted))
        used = {PUBLISHED[name]: 100 * part for name, part in right.used.items()}
        record({"spending.calls": calls, "spending.over": len(right.violations)} | used)
    good = not right.violations and min(right.used.values()) >= LEAST_USED
    for store in ("fixed", "racing"):
        wrong = Fleet(given.processes, 5.0, "--store", store).run(MUTANT_SECONDS, faults=False)
        show(store, wrong)
        good = good and bool(wrong.violations)
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
