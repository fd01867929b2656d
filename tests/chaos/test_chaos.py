"""A short run of faults against real processes. `make chaos` is the long one."""

import random

import pytest

from tests.chaos.history import Outcome
from tests.chaos.run import run


@pytest.mark.timeout(120)
async def test_nothing_is_promised_that_is_not_kept():
    """Under faults and load, nobody is let through too late, and nobody refused without need."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    report = await run(seed, 10, sidecars=2)

    assert report.violations == []
    assert sum(report.faults.values()) >= 2
    for verdict in report.verdicts["leased"]:
        assert verdict.outcomes[Outcome.ALLOW]
        assert verdict.outcomes[Outcome.REVOKED]
