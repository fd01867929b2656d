"""Try bad tokens: `python -m tests.core.tokens.attacks --variants 5000 --seed 1`."""

import argparse
from collections import Counter

from authz.core.tokens.presented import AcceptedToken
from tests.support.fakes import FakeClock, RecordingProbe
from tests.support.token_attacks import variants
from tests.support.tokens import GateRig


def run(most: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Return how many variants of each family were tried, and those that were accepted."""
    rig = GateRig(FakeClock(), RecordingProbe(), rate=1_000_000)
    assert isinstance(rig.accept(rig.issue()), AcceptedToken)
    tried: Counter[str] = Counter()
    accepted = []
    for family, token in variants(rig.ring, seed, most):
        tried[family] += 1
        if isinstance(rig.accept(token), AcceptedToken):
            accepted.append(f"{family}: {token}")
    return tried, accepted


def main() -> None:
    """Try them, and exit with 1 if one is accepted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variants", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    tried, accepted = run(given.variants, given.seed)
    for family, count in sorted(tried.items()):
        print(f"{count:7} {family}")
    print("\n".join(["", *accepted, f"{sum(tried.values())} tried, {len(accepted)} accepted"]))
    raise SystemExit(bool(accepted))


if __name__ == "__main__":
    main()
