"""A short run of faults against real processes. `make chaos` is the long one, with random seeds."""

import pytest

from tests.chaos.history import Outcome
from tests.chaos.run import run

SEED = 20261128


@pytest.mark.timeout(120)
async def test_the_promises_hold_under_faults():
    """Under faults and load no ended key is allowed too late, and no good key is refused."""
    report = await run(SEED, 10, sidecars=2)

    assert report.violations == []
    assert sum(report.faults.values()) >= 2
    for verdict in report.verdicts["leased"]:
        assert verdict.outcomes[Outcome.ALLOW]
        assert verdict.outcomes[Outcome.REVOKED]
